// swift-tools-version: 6.0
import PackageDescription

#if os(Linux)
// Targets of ours with the names of Apple's modules: see Linux/README.md.
let standIns: [Target] = [
    .target(name: "Pipe", path: "Linux/Pipe"),
    .target(name: "CoreML", dependencies: ["Pipe"], path: "Linux/CoreML"),
    .target(name: "MLX", dependencies: ["Pipe"], path: "Linux/MLX"),
    .target(name: "SwiftUI", dependencies: ["UniformTypeIdentifiers"], path: "Linux/SwiftUI"),
    .target(name: "UniformTypeIdentifiers", path: "Linux/UniformTypeIdentifiers"),
    // Xcode builds the app itself, by its project.
    .executableTarget(
        name: "EdgeApp", dependencies: ["EdgeKit", "EdgeCoreML", "EdgeMLX", "SwiftUI", "UniformTypeIdentifiers"], path: "App",
        exclude: ["PrivacyInfo.xcprivacy", "Localizable.xcstrings"]),
]
let coreML: [Target.Dependency] = ["CoreML"]
let mlx: [Target.Dependency] = ["MLX"]
let packages: [Package.Dependency] = []
#else
let standIns: [Target] = []
let coreML: [Target.Dependency] = []
// Apple's package is fetched by whoever asks for it alone: without it models for Core ML run, and no others.
let asked = Context.environment["EDGE_MLX"] != nil
let mlx: [Target.Dependency] = asked ? [.product(name: "MLX", package: "mlx-swift")] : []
let packages: [Package.Dependency] = asked ? [.package(url: "https://github.com/ml-explore/mlx-swift", exact: "0.31.6")] : []
#endif

let package = Package(
    name: "edge-apple",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "EdgeKit", targets: ["EdgeKit"]),
        .library(name: "EdgeCoreML", targets: ["EdgeCoreML"]),
        .library(name: "EdgeMLX", targets: ["EdgeMLX"]),
        .executable(name: "edge-demo", targets: ["EdgeDemo"]),
    ],
    dependencies: packages,
    targets: [
        .target(name: "EdgeKit"),
        .target(name: "EdgeCoreML", dependencies: ["EdgeKit"] + coreML),
        .target(name: "EdgeMLX", dependencies: ["EdgeKit"] + mlx),
        .executableTarget(name: "EdgeDemo", dependencies: ["EdgeKit", "EdgeCoreML", "EdgeMLX"]),
        .executableTarget(name: "EdgeChecks", dependencies: ["EdgeKit", "EdgeCoreML", "EdgeMLX"]),
    ] + standIns
)
