#if canImport(MLX)
import EdgeKit
import MLX

/// A decoder of the families that differ in names alone: norm, attention, norm, gated feed-forward.
///
/// T tokens, S rows of the cache, H query heads, G kv heads, W head width, D width, V vocabulary.
final class MlxDecoder: TokenDecoder {
    private let sizes: Sizes
    private let weights: MlxWeights
    private let periods: MLXArray // of each rotated pair, in positions: what MLX asks for in place of frequencies
    private var caches: [(keys: MLXArray, values: MLXArray)?] // [1, G, S, W] each
    private(set) var length = 0

    init(_ sizes: Sizes, _ weights: MlxWeights) {
        (self.sizes, self.weights) = (sizes, weights)
        periods = MLXArray(weights.frequencies.map { 1 / $0 })
        caches = sizes.layers.map { _ in nil }
    }

    var capacity: Int { sizes.context }

    func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        var (done, last): (Int, [Float]) = (0, [])
        while done < ids.count {
            if done > 0 && stopped() { return nil }
            let part = Array(ids[done..<min(done + CHUNK, ids.count)])
            last = try read(part)
            done += part.count
        }
        return last
    }

    func step(_ id: Int) throws -> [Float] { try read([id]) }

    func rewind(_ length: Int) {
        if length == self.length { return }
        let kept = MLXArray((0..<Int32(length)).map { $0 })
        caches = caches.map { cache in
            length == 0 ? nil : cache.map { ($0.keys.take(kept, axis: 2), $0.values.take(kept, axis: 2)) }
        }
        self.length = length
    }

    /// Append ids -> logits of the last one, [V].
    private func read(_ ids: [Int]) throws -> [Float] {
        let logits = try withError {
            var x = try weights.embed(ids) // [1, T, D]
            var new = caches
            for (index, layer) in sizes.layers.enumerated() {
                let at = "model.layers.\(index)."
                let h = MLXFast.rmsNorm(x, weight: try weights.tensor(at + "input_layernorm.weight"), eps: weights.eps)
                x = x + (try attended(h, at + "self_attn.", layer, &new[index]))
                let g = MLXFast.rmsNorm(x, weight: try weights.tensor(at + "post_attention_layernorm.weight"), eps: weights.eps)
                x = x + (try fed(g, at + "mlp."))
            }
            let last = x.take(MLXArray([Int32(ids.count - 1)]), axis: 1)
            let normed = MLXFast.rmsNorm(last, weight: try weights.tensor("model.norm.weight"), eps: weights.eps)
            let logits = try weights.head(normed).asType(.float32)
            eval([logits] + new.flatMap { $0.map { [$0.keys, $0.values] } ?? [] })
            caches = new
            return logits.asArray(Float.self)
        }
        if logits.count != sizes.vocab { throw EdgeError("The model has \(logits.count) logits, and app.json says \(sizes.vocab).") }
        length += ids.count
        return logits
    }

    /// [1, T, D] -> [1, T, D]; the cache grows by T rows.
    private func attended(
        _ x: MLXArray, _ at: String, _ layer: Layer, _ cache: inout (keys: MLXArray, values: MLXArray)?
    ) throws -> MLXArray {
        let (q, kv) = (layer.heads * layer.width, layer.kvHeads * layer.width)
        let parts = weights.has(at + "qkv_proj.weight")
            ? split(try weights.linear(x, at + "qkv_proj"), indices: [q, q + kv], axis: -1)
            : try ["q_proj", "k_proj", "v_proj"].map { try weights.linear(x, at + $0) }
        func headed(_ part: MLXArray, _ heads: Int) -> MLXArray { part.reshaped([1, -1, heads, layer.width]).transposed(0, 2, 1, 3) }
        func turned(_ part: MLXArray) -> MLXArray {
            MLXFast.RoPE(
                part, dimensions: 2 * weights.frequencies.count, traditional: false, base: nil, scale: 1, offset: length, freqs: periods)
        }
        var (k, v) = (turned(headed(parts[1], layer.kvHeads)), headed(parts[2], layer.kvHeads))
        if let cache { (k, v) = (concatenated([cache.keys, k], axis: 2), concatenated([cache.values, v], axis: 2)) }
        cache = (k, v)
        let out = MLXFast.scaledDotProductAttention(
            queries: turned(headed(parts[0], layer.heads)), keys: k, values: v, scale: Float(layer.scale), mask: .causal)
        return try weights.linear(out.transposed(0, 2, 1, 3).reshaped([1, -1, q]), at + "o_proj")
    }

    private func fed(_ x: MLXArray, _ at: String) throws -> MLXArray {
        let parts = weights.has(at + "gate_up_proj.weight")
            ? split(try weights.linear(x, at + "gate_up_proj"), parts: 2, axis: -1)
            : try ["gate_proj", "up_proj"].map { try weights.linear(x, at + $0) }
        return try weights.linear(parts[0] * sigmoid(parts[0]) * parts[1], at + "down_proj")
    }
}

private let CHUNK = 512 // tokens of a prompt that are read at once
#endif
