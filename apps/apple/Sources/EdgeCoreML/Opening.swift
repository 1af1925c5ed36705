import CoreML
import EdgeKit
import Foundation

/// Open a model that was converted to Core ML: its packages are compiled for this device, which takes seconds, and the result
/// is kept in the folder `place`. Throws an `EdgeError` where it is not whole, or of another model than it says.
public func openModel(_ stored: URL, compiled place: URL) async throws -> any Decoding {
    let folder = try ModelFolder(stored)
    try folder.description.need(["coreml"])
    try folder.check()
    let packages = try await Packages(stored, compiled: place)
    return try await ModelQueue {
        try OpenModel(ModelFolder(stored), eyes: packages.eyes()) { try packages.decoder($0) }
    }
}

/// The packages of a model, compiled.
package struct Packages: Sendable {
    private let all: [Compiled]
    private let sizes: Sizes
    private let seeing: [Compiled] // the tower and the projector of a model that sees pictures

    package init(_ stored: URL, compiled place: URL) async throws {
        let folder = try ModelFolder(stored)
        var all: [Compiled] = []
        for name in try packageNames(folder.description) {
            all.append(try await opened(stored.appendingPathComponent(name), in: place))
        }
        var seeing: [Compiled] = []
        for module in folder.description.pictures == nil ? [] : ["vision", "projector"] {
            try folder.description.need(["coreml"], of: module)
            let package = stored.appendingPathComponent("\(module)/model.mlpackage")
            seeing.append(try await opened(package, in: place.appendingPathComponent(module, isDirectory: true)))
        }
        (self.all, self.seeing, sizes) = (all, seeing, folder.description.sizes)
    }

    /// What sees pictures; nil of a model that reads alone.
    package func eyes() throws -> (any Eyes)? {
        seeing.count == 2 ? try CoreMLEyes(tower: Package(seeing[0], units), projector: Package(seeing[1], units)) : nil
    }

    /// One with an empty cache; `snapkv` says how that is cut, if it is.
    package func decoder(_ way: Way = .plain, _ snapkv: SnapKv = SnapKv()) throws -> any TokenDecoder {
        let fresh = all.map { Package($0, units) }
        return switch way {
        case .plain: try CoreMLDecoder(sizes, fresh)
        case .snapkv: Compacting(try CutDecoder(sizes, fresh), snapkv)
        case .drafts: Drafting(try ExitDecoder(sizes, fresh))
        }
    }
}

#if targetEnvironment(simulator)
private let units = MLComputeUnits.cpuOnly // its GPU is not one that models with states run on
#else
private let units = MLComputeUnits.cpuAndGPU // with all of them, models with states fail to load on some systems
#endif

/// The folders of a model's packages, in order: one, or all of several.
package func packageNames(_ description: Description) throws -> [String] {
    let end = ".mlpackage/Manifest.json"
    let names = description.files.map(\.name).filter { $0.hasPrefix("text/model") && $0.hasSuffix(end) }.sorted()
        .map { String($0.dropLast("/Manifest.json".count)) }
    func five(_ number: Int) -> String { String("0000\(number)".suffix(max(5, "\(number)".count))) }
    let several = (1...max(1, names.count)).map { "text/model-\(five($0))-of-\(five(names.count)).mlpackage" }
    if names != ["text/model.mlpackage"] && names != several {
        throw EdgeError("The model should have model.mlpackage, and has \(names.count) packages of other names. Add the model again.")
    }
    return names
}

/// A package by its compiled folder. It is compiled where that is not there yet, or can no longer be opened: a system may have
/// been updated, or have cleared what it held for old.
private func opened(_ package: URL, in place: URL) async throws -> Compiled {
    let kept = place.appendingPathComponent(package.deletingPathExtension().lastPathComponent + ".mlmodelc", isDirectory: true)
    let files = FileManager.default
    if files.fileExists(atPath: kept.path) {
        if let known = try? await Compiled(kept) { return known }
        try files.removeItem(at: kept)
    }
    let made = try await MLModel.compileModel(at: package)
    defer { try? files.removeItem(at: made) } // where it cannot be kept
    try files.createDirectory(at: place, withIntermediateDirectories: true)
    try files.moveItem(at: made, to: kept)
    return try await Compiled(kept)
}
