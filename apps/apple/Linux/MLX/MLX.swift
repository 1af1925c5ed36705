import Foundation
import Pipe

/// An array of Python's MLX, known by a number.
public final class MLXArray {
    let number: Int

    init(_ number: Int) { self.number = number }

    public convenience init(_ value: [Int32], _ shape: [Int]? = nil) {
        self.init(asked("int32", value: value.map { Double($0) }, shape: shape ?? [value.count]))
    }

    public convenience init(_ value: [Float]) { self.init(asked("float32", value: value.map { Double($0) }, shape: [value.count])) }

    deinit { _ = try? Pipe.shared.ask(["do": "drop", "array": number]) }

    public func take(_ indices: MLXArray, axis: Int) -> MLXArray { made("take", [self, indices], ["axis": axis]) }
    public func transposed(_ axes: Int...) -> MLXArray { made("transpose", [self], ["axes": axes]) }
    public func reshaped(_ shape: [Int]) -> MLXArray { made("reshape", [self], ["shape": shape]) }
    public func asType(_ type: DType) -> MLXArray { made("astype", [self], ["dtype": type.rawValue]) }

    public func asArray(_ type: Float.Type) -> [Float] {
        guard let data = told({ try Pipe.shared.ask(["do": "read", "array": number]).bytes }) else { return [] }
        return data.withUnsafeBytes { bytes in (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) } }
    }

    public static func + (a: MLXArray, b: MLXArray) -> MLXArray { made("add", [a, b]) }
    public static func * (a: MLXArray, b: MLXArray) -> MLXArray { made("multiply", [a, b]) }
}

public enum DType: String { case float32 }

public enum Memory {
    nonisolated(unsafe) public static var cacheLimit = 0
}

public func loadArrays(url: URL) throws -> [String: MLXArray] {
    let found = try Pipe.shared.ask(["do": "load", "file": url.standardizedFileURL.path]).header["arrays"] as? [String: Int]
    return (found ?? [:]).mapValues { MLXArray($0) }
}

public func matmul(_ a: MLXArray, _ b: MLXArray) -> MLXArray { made("matmul", [a, b]) }

public func sigmoid(_ array: MLXArray) -> MLXArray { made("sigmoid", [array]) }

public func concatenated(_ arrays: [MLXArray], axis: Int) -> MLXArray { made("concatenate", arrays, ["axis": axis]) }

public func split(_ array: MLXArray, indices: [Int], axis: Int) -> [MLXArray] { several(array, indices, axis) }

public func split(_ array: MLXArray, parts: Int, axis: Int) -> [MLXArray] { several(array, parts, axis) }

public func quantizedMM(
    _ x: MLXArray, _ w: MLXArray, scales: MLXArray, biases: MLXArray?, transpose: Bool = true, groupSize: Int?, bits: Int?
) -> MLXArray {
    made("quantized_matmul", [x, w, scales] + (biases.map { [$0] } ?? []), ["transpose": transpose, "group_size": groupSize ?? 64, "bits": bits ?? 4])
}

public func dequantized(_ w: MLXArray, scales: MLXArray, biases: MLXArray?, groupSize: Int?, bits: Int?) -> MLXArray {
    made("dequantize", [w, scales] + (biases.map { [$0] } ?? []), ["group_size": groupSize ?? 64, "bits": bits ?? 4])
}

public func eval(_ arrays: some Collection<MLXArray>) { _ = told { try Pipe.shared.ask(["do": "eval", "arrays": arrays.map(\.number)]) } }

public enum MLXFast {
    public enum ScaledDotProductAttentionMaskMode { case none, causal }

    public static func rmsNorm(_ x: MLXArray, weight: MLXArray, eps: Float) -> MLXArray { made("fast.rms_norm", [x, weight], ["eps": eps]) }

    public static func RoPE(
        _ array: MLXArray, dimensions: Int, traditional: Bool, base: Float?, scale: Float, offset: Int, freqs: MLXArray?
    ) -> MLXArray {
        let named: [String: Any] = ["traditional": traditional, "base": base ?? NSNull(), "scale": scale, "offset": offset, "freqs": freqs?.number ?? NSNull()]
        return made("fast.rope", [array], named.merging(["dims": dimensions]) { $1 })
    }

    public static func scaledDotProductAttention(
        queries: MLXArray, keys: MLXArray, values: MLXArray, scale: Float, mask: ScaledDotProductAttentionMaskMode
    ) -> MLXArray {
        made("fast.scaled_dot_product_attention", [queries, keys, values], ["scale": scale, "mask": mask == .causal ? "causal" : NSNull()])
    }
}

/// What MLX refuses is thrown when the body has ended.
public func withError<R>(_ body: () throws -> R) throws -> R {
    problem = nil
    let result = try body()
    if let problem { throw problem }
    return result
}

nonisolated(unsafe) private var problem: (any Error)? // of one thread, as one model runs at a time

private func told<R>(_ body: () throws -> R) -> R? {
    do { return try body() } catch {
        problem = problem ?? error
        return nil
    }
}

private func asked(_ dtype: String, value: [Double], shape: [Int]) -> Int {
    let found = told { try Pipe.shared.ask(["do": "make", "dtype": dtype, "value": value, "shape": shape]).header["array"] as? Int }
    return (found ?? nil) ?? -1
}

private func made(_ name: String, _ arrays: [MLXArray], _ named: [String: Any] = [:]) -> MLXArray {
    MLXArray((numbers(name, arrays, named)?.first) ?? -1)
}

private func several(_ array: MLXArray, _ places: Any, _ axis: Int) -> [MLXArray] {
    (numbers("split", [array], ["indices_or_sections": places, "axis": axis]) ?? []).map { MLXArray($0) }
}

private func numbers(_ name: String, _ arrays: [MLXArray], _ named: [String: Any]) -> [Int]? {
    let question: [String: Any] = ["do": "call", "name": name, "arrays": arrays.map(\.number), "named": named]
    return told { try Pipe.shared.ask(question).header["arrays"] as? [Int] } ?? nil
}
