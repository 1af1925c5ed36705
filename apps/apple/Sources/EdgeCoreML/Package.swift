import CoreML
import EdgeKit
import Foundation

/// A compiled package, and what its functions take.
struct Compiled: Sendable {
    struct Function: Sendable {
        let inputs: [String: MLMultiArrayDataType]
        let states: Set<String>
    }

    let folder: URL
    let functions: [String: Function]

    init(_ folder: URL) async throws {
        self.folder = folder
        let asset = try MLModelAsset(url: folder)
        var functions: [String: Function] = [:]
        for name in try await asset.functionNames {
            let about = try await asset.modelDescription(of: name)
            functions[name] = Function(
                inputs: about.inputDescriptionsByName.compactMapValues { $0.multiArrayConstraint?.dataType }, states: Set(about.stateDescriptionsByName.keys))
        }
        self.functions = functions
    }
}

/// One package that is used: a function is loaded at its first call, and functions that declare the same states are given
/// the same ones.
final class Package {
    let functions: [String: Compiled.Function]
    private let folder: URL
    private let units: MLComputeUnits
    private var models: [String: MLModel] = [:]
    private var states: [Set<String>: MLState] = [:]

    init(_ compiled: Compiled, _ units: MLComputeUnits) {
        (functions, folder, self.units) = (compiled.functions, compiled.folder, units)
    }

    /// Run a function -> what it gives, by name.
    func call(_ name: String, _ inputs: [String: MLMultiArray]) throws -> [String: MLMultiArray] {
        guard let function = functions[name] else { throw otherModel }
        let given = try MLDictionaryFeatureProvider(dictionary: inputs.mapValues { MLFeatureValue(multiArray: $0) })
        let model = try model(name)
        let found = function.states.isEmpty
            ? try model.prediction(from: given) : try model.prediction(from: given, using: state(function.states))
        var out: [String: MLMultiArray] = [:]
        for name in found.featureNames { out[name] = found.featureValue(for: name)?.multiArrayValue }
        return out
    }

    /// A state as it lies, to be read or written.
    func with<R>(_ name: String, _ body: (MLMultiArray) throws -> R) throws -> R {
        guard let declared = functions.values.first(where: { $0.states.contains(name) })?.states else { throw otherModel }
        return try state(declared).withMultiArray(for: name, body)
    }

    /// Give the memory of states back: used again, they are zeros.
    func forget(_ name: String) {
        for declared in states.keys where declared.contains(name) { states[declared] = nil }
    }

    private func model(_ name: String) throws -> MLModel {
        if let known = models[name] { return known }
        let configuration = MLModelConfiguration()
        (configuration.computeUnits, configuration.functionName) = (units, name)
        let model = try MLModel(contentsOf: folder, configuration: configuration)
        models[name] = model
        return model
    }

    /// Made by a function that declares these, one that is loaded if any is.
    private func state(_ declared: Set<String>) throws -> MLState {
        if let known = states[declared] { return known }
        let able = functions.filter { $0.value.states == declared }.keys.sorted()
        guard let maker = able.first(where: { models[$0] != nil }) ?? able.first else { throw otherModel }
        let state = try model(maker).makeState()
        states[declared] = state
        return state
    }
}
