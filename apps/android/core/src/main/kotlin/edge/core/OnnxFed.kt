package edge.core

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import java.nio.LongBuffer

/** What a graph asks for beside the cache, in memory that is used again: ids and positions, and a mask or the rows. */
internal class OnnxFed(
    private val environment: OrtEnvironment,
    private val names: Set<String>,
    private val sizes: Sizes,
) : AutoCloseable {
    private val counted = "last.0" in names
    private val lastRow = ints(1)
    private val total = ints(1)
    private val fixed = HashMap<String, OnnxTensor>()
    private var passing = HashMap<String, OnnxTensor>() // of one call
    private var ones = LongBuffer.allocate(0)

    init {
        if ("wanted" in names) fixed["wanted"] = longs(environment, 1) // logits of one row
        val last = OnnxTensor.createTensor(environment, lastRow, longArrayOf(1))
        val all = OnnxTensor.createTensor(environment, total, longArrayOf())
        if (counted) {
            for (at in sizes.layers.indices) {
                fixed["last.$at"] = last
                fixed["total.$at"] = all
            }
        }
    }

    /** For ids at positions from [start] on, after [past] rows of the cache: good until the next call. */
    fun with(ids: IntArray, start: Int, past: Int): Map<String, OnnxTensor> {
        passing.values.forEach(OnnxTensor::close)
        val rows = past + ids.size
        lastRow.put(0, rows - 1)
        total.put(0, rows)
        passing["input_ids"] = row(ids.size) { ids[it].toLong() }
        passing["position_ids"] = row(ids.size) { start + it.toLong() }
        if (!counted) passing["attention_mask"] = OnnxTensor.createTensor(environment, mask(rows), longArrayOf(1, rows.toLong()))
        return fixed + passing
    }

    private fun row(count: Int, value: (Int) -> Long): OnnxTensor {
        val buffer = direct(count, 8).asLongBuffer()
        for (at in 0 until count) buffer.put(at, value(at))
        return OnnxTensor.createTensor(environment, buffer, longArrayOf(1, count.toLong()))
    }

    private fun mask(rows: Int): LongBuffer {
        if (ones.capacity() < rows) {
            ones = direct(minOf(rows + 512, sizes.context), 8).asLongBuffer()
            for (at in 0 until ones.capacity()) ones.put(at, 1)
        }
        ones.limit(rows)
        return ones
    }

    override fun close() = (fixed.values + passing.values).distinct().forEach(OnnxTensor::close)
}
