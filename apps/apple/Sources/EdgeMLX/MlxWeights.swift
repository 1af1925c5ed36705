#if canImport(MLX)
import EdgeKit
import Foundation
import MLX

/// The tensors of mlx-lm's folder, and how its config.json says that they are packed. T tokens, D width.
final class MlxWeights {
    let eps: Float
    let frequencies: [Float]
    private let tensors: [String: MLXArray]
    private let packing: Json?
    private let tied: Bool

    init(_ folder: URL, _ about: Description) throws {
        let file = folder.appendingPathComponent("config.json")
        let config = try Json.read(bytes(of: file), "config.json")
        let kind = try config["model_type"].text()
        guard FAMILIES.contains(kind), let rotary = about.sizes.rotary, rotary.magnitude == 1 else {
            throw EdgeError("Models of the family \(kind.first(40)), or with such positions, do not run on MLX here: convert it to coreml.")
        }
        Memory.cacheLimit = CACHE // else what is free stays with the process until the system ends it
        frequencies = rotary.frequencies
        eps = Float(try config["rms_norm_eps"].number())
        tied = try config["tie_word_embeddings"].orNil?.flag() ?? false
        packing = try config["quantization"].orNil
        if case .object(let modules)? = packing?.value, modules.values.contains(where: { unknown($0) }) {
            throw EdgeError("This model's matrices are packed in a way that MLX does not read: convert it to coreml.")
        }
        let names = about.files.map(\.name).filter { $0.hasPrefix("text/") && $0.hasSuffix(".safetensors") }
        tensors = try withError {
            var all: [String: MLXArray] = [:]
            for name in names {
                all.merge(try loadArrays(url: folder.appendingPathComponent(String(name.dropFirst(5))))) { $1 }
            }
            return all
        }
    }

    func has(_ name: String) -> Bool { tensors[name] != nil }

    func tensor(_ name: String) throws -> MLXArray {
        guard let found = tensors[name] else {
            throw EdgeError("The model has no tensor \(name.first(80)): convert it to mlx again.")
        }
        return found
    }

    /// Rows of the embedding, [1, T, D].
    func embed(_ ids: [Int]) throws -> MLXArray {
        let (at, name) = (MLXArray(ids.map { Int32($0) }, [1, ids.count]), "model.embed_tokens")
        let rows = try tensor(name + ".weight").take(at, axis: 0)
        guard let way = try way(name) else { return rows }
        let (scales, biases) = (try tensor(name + ".scales").take(at, axis: 0), try tensor(name + ".biases").take(at, axis: 0))
        return dequantized(rows, scales: scales, biases: biases, groupSize: way.group, bits: way.bits)
    }

    /// A matrix's product with rows, [1, T, D].
    func linear(_ x: MLXArray, _ name: String) throws -> MLXArray {
        let weight = try tensor(name + ".weight")
        var y: MLXArray
        if let way = try way(name) {
            let (scales, biases) = (try tensor(name + ".scales"), try tensor(name + ".biases"))
            y = quantizedMM(x, weight, scales: scales, biases: biases, groupSize: way.group, bits: way.bits)
        } else {
            y = matmul(x, weight.transposed(1, 0))
        }
        if let bias = tensors[name + ".bias"] { y = y + bias }
        return y
    }

    /// The logits of rows.
    func head(_ x: MLXArray) throws -> MLXArray { try linear(x, tied ? "model.embed_tokens" : "lm_head") }

    /// How a matrix is packed: nil where it is not.
    private func way(_ name: String) throws -> (group: Int, bits: Int)? {
        guard has(name + ".scales"), let packing else { return nil }
        let own = try packing[name].orNil ?? packing
        return (try own["group_size"].whole(1...1024), try own["bits"].whole(1...8))
    }
}

private let FAMILIES: Set<String> = ["llama", "mistral", "qwen2", "phi3"]
private let CACHE = 32 << 20

/// What edge packs beyond mlx-lm: a second term, or a rotation.
private func unknown(_ way: Value) -> Bool {
    guard case .object(let fields) = way else { return false }
    return fields.has("added") || fields.has("rotated")
}
#endif
