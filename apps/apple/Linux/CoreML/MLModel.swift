import Foundation
import Pipe

public enum MLComputeUnits: Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public var functionName: String?

    public init() {}
}

/// A compiled model: of which functions it is.
public final class MLModelAsset: Sendable {
    private let model: Int
    private let about: [String: MLModelDescription]

    public init(url: URL) throws {
        let source = try String(contentsOf: url.appendingPathComponent("source"), encoding: .utf8)
        let told = try Pipe.shared.ask(["do": "open", "package": source]).header
        model = told["model"] as? Int ?? 0
        about = (told["functions"] as? [String: [String: Any]] ?? [:]).mapValues { MLModelDescription($0) }
    }

    public var functionNames: [String] { get async throws { Array(about.keys) } }

    public func modelDescription(of functionName: String) async throws -> MLModelDescription {
        guard let found = about[functionName] else { throw MLModelError("there is no function \(functionName)") }
        return found
    }

    func has(_ function: String) -> Bool { about[function] != nil }

    var number: Int { model }
}

public final class MLModel {
    private let asset: MLModelAsset
    private let function: String

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        asset = try MLModelAsset(url: url)
        function = configuration.functionName ?? "main"
        if !asset.has(function) { throw MLModelError("there is no function \(function)") }
    }

    /// A folder in a place for what is soon gone, that says where the package lies.
    public class func compileModel(at url: URL) async throws -> URL {
        let out = FileManager.default.temporaryDirectory.appendingPathComponent("model_\(UUID().uuidString).mlmodelc")
        try FileManager.default.createDirectory(at: out, withIntermediateDirectories: true)
        try url.standardizedFileURL.path.write(to: out.appendingPathComponent("source"), atomically: true, encoding: .utf8)
        return out
    }

    public func makeState() -> MLState { MLState(asset.number, function) }

    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { try predicted(input, nil) }

    public func prediction(from input: any MLFeatureProvider, using state: MLState) throws -> any MLFeatureProvider {
        try predicted(input, state)
    }

    private func predicted(_ input: any MLFeatureProvider, _ state: MLState?) throws -> any MLFeatureProvider {
        let arrays = input.featureNames.sorted().compactMap { name in input.featureValue(for: name)?.multiArrayValue.map { (name, $0) } }
        var question: [String: Any] = ["do": "call", "model": asset.number, "function": function]
        question["inputs"] = arrays.map { ["name": $0, "type": $1.dataType.name, "shape": $1.shape.map(\.intValue)] as [String: Any] }
        if let state { question["state"] = state.number }
        let (told, bytes) = try Pipe.shared.ask(question, arrays.reduce(Data()) { $0 + $1.1.packed })
        return try MLDictionaryFeatureProvider(dictionary: features(told["outputs"], bytes, gap: 3))
    }
}

/// What a sequence leaves behind, kept by the evaluator.
public final class MLState {
    private let model: Int
    private let function: String
    let number: Int

    init(_ model: Int, _ function: String) {
        (self.model, self.function) = (model, function)
        number = (try? Pipe.shared.ask(["do": "state", "model": model]).header["state"] as? Int) ?? -1
    }

    deinit { _ = try? Pipe.shared.ask(["do": "forget", "state": number]) }

    public func withMultiArray<R>(for name: String, _ body: (MLMultiArray) throws -> R) rethrows -> R {
        let question: [String: Any] = ["state": number, "function": function, "name": name]
        let answer = try? Pipe.shared.ask(question.merging(["do": "read"]) { $1 })
        guard let answer, let array = features(answer.header["outputs"], answer.bytes, gap: 5)[name]?.multiArrayValue else {
            preconditionFailure("there is no state \(name)")
        }
        defer { _ = try? Pipe.shared.ask(question.merging(["do": "write"]) { $1 }, array.packed) }
        return try body(array)
    }
}

/// Arrays as the evaluator tells of them.
private func features(_ told: Any?, _ bytes: Data, gap: Int = 0) -> [String: MLFeatureValue] {
    var (out, at): ([String: MLFeatureValue], Int) = ([:], bytes.startIndex)
    for one in told as? [[String: Any]] ?? [] {
        guard let name = one["name"] as? String, let shape = one["shape"] as? [Int], let type = MLMultiArrayDataType(one["type"] as? String ?? "") else { continue }
        let array = MLMultiArray(shape, type, gap: gap)
        let size = shape.reduce(type.width, *)
        array.packed = bytes[at..<at + size]
        at += size
        out[name] = MLFeatureValue(multiArray: array)
    }
    return out
}

public struct MLModelError: LocalizedError {
    public let errorDescription: String?

    init(_ problem: String) { errorDescription = problem }
}
