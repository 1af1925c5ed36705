// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "edge-apple",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [.library(name: "EdgeKit", targets: ["EdgeKit"])],
    targets: [
        .target(name: "EdgeKit"),
        .executableTarget(name: "EdgeChecks", dependencies: ["EdgeKit"]),
    ]
)
