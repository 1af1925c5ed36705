/// A model over one sequence. T tokens, V vocabulary.
package protocol TokenDecoder: AnyObject {
    /// Tokens in the cache, or forgotten from it.
    var length: Int { get }

    /// The most tokens of a sequence.
    var capacity: Int { get }

    /// Append ids [T] -> logits [V] of what follows, or nil where it was `stopped` between two pieces of them.
    func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]?

    /// Append one id -> logits [V].
    func step(_ id: Int) throws -> [Float]

    /// Forget all but the first `length` tokens.
    func rewind(_ length: Int)
}

/// How a model decodes: plainly, from a cache that is cut after long prompts, or with drafts by its first layers.
package enum Way: Sendable { case plain, snapkv, drafts }

/// A decoder whose cache can be cut: L layers, H query heads, G kv heads, S rows.
package protocol Evictable: TokenDecoder {
    var sizes: Sizes { get }

    /// Rows of each layer's cache.
    var rows: Int { get }

    /// Append ids -> logits [V], and for each layer the votes of their queries on each row, [L, H, S].
    func observe(_ ids: [Int]) throws -> ([Float], [[[Float]]])

    /// Keep these rows of each layer, for each of its kv heads, [L, G, S].
    func cut(_ kept: [[[Int]]]) throws
}

/// A decoder whose cache is cut after every prompt that does not fit it. Answers see fewer rows; what a prompt says of
/// itself is read over all.
package final class Compacting: TokenDecoder {
    private let inner: any Evictable
    private let options: SnapKv
    private var compacted = 0 // tokens that were read when rows were last forgotten

    package init(_ inner: any Evictable, _ options: SnapKv = SnapKv()) { (self.inner, self.options) = (inner, options) }

    package var length: Int { inner.length }
    package var capacity: Int { inner.capacity }

    package func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        let window = options.window
        if inner.rows + ids.count <= options.capacity || ids.count < window { return try inner.prefill(ids, stopped: stopped) }
        if ids.count > window, try inner.prefill(ids.dropLast(window), stopped: stopped) == nil { return nil }
        let (logits, votes) = try inner.observe(ids.suffix(window))
        try inner.cut(votes.enumerated().map { kept($1, kvHeads: inner.sizes.layers[$0].kvHeads, options) })
        compacted = length
        return logits
    }

    package func step(_ id: Int) throws -> [Float] { try inner.step(id) }

    /// Into what was forgotten there is no way back: then all is read anew.
    package func rewind(_ length: Int) {
        let whole = length >= compacted
        inner.rewind(whole ? length : 0)
        if !whole || length == 0 { compacted = 0 }
    }
}
