package edge.core

/** A model over one sequence. T tokens, V vocabulary. */
internal interface Decoder : AutoCloseable {
    /** Tokens in the cache, or forgotten from it. */
    val length: Int

    /** The most tokens of a sequence. */
    val capacity: Int

    /** Append ids [T] -> logits [V] of what follows, or null where it was [stopped] between two pieces of them. */
    fun prefill(ids: IntArray, stopped: () -> Boolean = { false }): FloatArray?

    /** Append one id -> logits [V]. */
    fun step(id: Int): FloatArray

    /** Forget all but the first [length] tokens. */
    fun rewind(length: Int)
}

/** A decoder whose cache can be cut: L layers, H query heads, G kv heads, S rows. */
internal interface Evictable : Decoder {
    val sizes: Sizes

    /** Rows of each layer's cache. */
    val rows: Int

    /** Append ids -> logits [V], and for each layer the votes of their queries on each row, [H, S]. */
    fun observe(ids: IntArray): Pair<FloatArray, List<Array<FloatArray>>>

    /** Keep these rows of each layer, for each of its kv heads, [L, G, S]. */
    fun cut(kept: List<Array<IntArray>>)
}
