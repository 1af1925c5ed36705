// swift-tools-version: 6.0
import PackageDescription

#if os(Linux)
// Targets of ours with the names of Apple's modules: see Linux/README.md.
let standIns: [Target] = [
    .target(name: "CoreML", path: "Linux/CoreML"),
    .target(name: "SwiftUI", dependencies: ["UniformTypeIdentifiers"], path: "Linux/SwiftUI"),
    .target(name: "UniformTypeIdentifiers", path: "Linux/UniformTypeIdentifiers"),
    // Xcode builds the app itself, by its project.
    .executableTarget(
        name: "EdgeApp", dependencies: ["EdgeKit", "EdgeCoreML", "SwiftUI", "UniformTypeIdentifiers"], path: "App",
        exclude: ["PrivacyInfo.xcprivacy"]),
]
let coreML: [Target.Dependency] = ["CoreML"]
#else
let standIns: [Target] = []
let coreML: [Target.Dependency] = []
#endif

let package = Package(
    name: "edge-apple",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "EdgeKit", targets: ["EdgeKit"]),
        .library(name: "EdgeCoreML", targets: ["EdgeCoreML"]),
        .executable(name: "edge-demo", targets: ["EdgeDemo"]),
    ],
    targets: [
        .target(name: "EdgeKit"),
        .target(name: "EdgeCoreML", dependencies: ["EdgeKit"] + coreML),
        .executableTarget(name: "EdgeDemo", dependencies: ["EdgeKit", "EdgeCoreML"]),
        .executableTarget(name: "EdgeChecks", dependencies: ["EdgeKit", "EdgeCoreML"]),
    ] + standIns
)
