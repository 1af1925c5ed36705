package edge.core

/**
 * A decoder whose cache is cut after every prompt that does not fit it. Answers see fewer rows; what a prompt says of
 * itself is read over all.
 */
internal class Compacting(private val inner: Evictable, private val options: SnapKv = SnapKv()) : Decoder {
    private var compacted = 0 // tokens that were read when rows were last forgotten

    override val length get() = inner.length
    override val capacity get() = inner.capacity

    override fun prefill(ids: IntArray, stopped: () -> Boolean): FloatArray? {
        val window = options.window
        if (inner.rows + ids.size <= options.capacity || ids.size < window) return inner.prefill(ids, stopped)
        if (ids.size > window) inner.prefill(ids.copyOf(ids.size - window), stopped) ?: return null
        val (logits, votes) = inner.observe(ids.copyOfRange(ids.size - window, ids.size))
        inner.cut(votes.mapIndexed { at, one -> kept(one, inner.sizes.layers[at].kvHeads, options) })
        compacted = length
        return logits
    }

    override fun step(id: Int) = inner.step(id)

    /** Into what was forgotten there is no way back: then all is read anew. */
    override fun rewind(length: Int) {
        val whole = length >= compacted
        inner.rewind(if (whole) length else 0)
        if (!whole || length == 0) compacted = 0
    }

    override fun close() = inner.close()
}
