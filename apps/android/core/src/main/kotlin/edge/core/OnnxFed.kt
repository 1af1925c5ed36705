package edge.core

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import java.nio.LongBuffer

/** What a graph asks for beside the cache, in memory that is used again: ids and positions, and a mask or the rows. */
internal class OnnxFed(private val environment: OrtEnvironment, names: Set<String>, private val sizes: Sizes) : AutoCloseable {
    private val counted = "last.0" in names
    private val lastRow = ints(1)
    private val total = ints(1)
    private val tokens = direct(OnnxDecoder.CHUNK, 8).asLongBuffer()
    private val positions = direct(OnnxDecoder.CHUNK, 8).asLongBuffer()
    private var ones = LongBuffer.allocate(0)
    private val fixed = HashMap<String, OnnxTensor>()

    /** All inputs by name, for the next call. */
    val feeds = HashMap<String, OnnxTensor>()

    init {
        if ("wanted" in names) fixed["wanted"] = longs(environment, 1) // logits of one row
        if (counted) {
            val last = OnnxTensor.createTensor(environment, lastRow, longArrayOf(1))
            val all = OnnxTensor.createTensor(environment, total, longArrayOf())
            for (at in sizes.layers.indices) {
                fixed["last.$at"] = last
                fixed["total.$at"] = all
            }
        }
        feeds.putAll(fixed)
    }

    /** The next call appends ids at positions from [start] on, after [past] rows of the cache. */
    fun set(ids: IntArray, start: Int, past: Int) {
        if (tokens.limit() != ids.size || IDS !in feeds) reshape(ids.size)
        for (at in ids.indices) {
            tokens.put(at, ids[at].toLong())
            positions.put(at, start + at.toLong())
        }
        val rows = past + ids.size
        lastRow.put(0, rows - 1)
        total.put(0, rows)
        if (!counted) put(MASK, OnnxTensor.createTensor(environment, mask(rows), longArrayOf(1, rows.toLong())))
    }

    private fun reshape(count: Int) {
        for ((name, buffer) in listOf(IDS to tokens, POSITIONS to positions)) {
            buffer.limit(count)
            put(name, OnnxTensor.createTensor(environment, buffer, longArrayOf(1, count.toLong())))
        }
    }

    private fun put(name: String, tensor: OnnxTensor) = feeds.put(name, tensor)?.close()

    private fun mask(rows: Int): LongBuffer {
        if (ones.capacity() < rows) {
            ones = direct(minOf(rows + 512, sizes.context), 8).asLongBuffer()
            for (at in 0 until ones.capacity()) ones.put(at, 1)
        }
        ones.limit(rows)
        return ones
    }

    override fun close() {
        (fixed.values + listOfNotNull(feeds[IDS], feeds[POSITIONS], feeds[MASK])).distinct().forEach(OnnxTensor::close)
    }

    private companion object {
        const val IDS = "input_ids"
        const val POSITIONS = "position_ids"
        const val MASK = "attention_mask"
    }
}
