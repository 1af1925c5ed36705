package edge.core

import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.sin

/**
 * SnapKV (arXiv 2404.14469): after a prompt, each kv head keeps the cached rows that the prompt's end looks at. [capacity]:
 * rows to keep, of which the last [window] vote; [kernel]: rows that a vote is pooled over; [sinks]: first rows, kept always.
 */
internal data class SnapKv(val capacity: Int = 1024, val window: Int = 32, val kernel: Int = 7, val sinks: Int = 0)

/** Of one call: T tokens, H query heads, G kv heads, W head width, S rows. */
internal class Attention(val tokens: Int, val layer: Layer, val rows: Int)

/** Votes [H, S] of a layer -> for each kv head the rows that it keeps, rising, [G, C]. The window's are always among them. */
internal fun kept(votes: Array<FloatArray>, kvHeads: Int, options: SnapKv): Array<IntArray> {
    val before = votes[0].size - options.window
    val share = votes.size / kvHeads
    return Array(kvHeads) { head ->
        val sums = FloatArray(before)
        for (one in head * share until (head + 1) * share) {
            val pooled = highest(votes[one], before, options.kernel)
            for (at in 0 until before) sums[at] += pooled[at]
        }
        val worth = FloatArray(before) { if (it < options.sinks) Float.POSITIVE_INFINITY else sums[it] / share }
        val best = (0 until before).sortedWith(compareBy({ -worth[it] }, { it })).take(options.capacity - options.window)
        best.sorted().toIntArray() + IntArray(options.window) { before + it }
    }
}

/** The highest of so many neighbours, of each of the first [count] values; past the ends lie zeros, which count. */
private fun highest(values: FloatArray, count: Int, kernel: Int) = FloatArray(count) { at ->
    val half = (kernel - 1) / 2
    (at - half..at + half).maxOf { if (it in 0 until count) values[it] else 0f }
}

/** What attention of the last T queries gives each key, summed, [H, S]: q [T, H, W] and k [G, S, W], flat and rotated. */
internal fun votes(q: FloatArray, k: FloatArray, of: Attention): Array<FloatArray> {
    val layer = of.layer
    val scores = DoubleArray(of.rows)
    return Array(layer.heads) { head ->
        val sum = FloatArray(of.rows)
        val keys = head / (layer.heads / layer.kvHeads) * of.rows * layer.width
        for (t in 0 until of.tokens) {
            val query = (t * layer.heads + head) * layer.width
            val seen = of.rows - of.tokens + t + 1
            var top = Double.NEGATIVE_INFINITY
            for (s in 0 until seen) {
                var dot = 0.0
                for (w in 0 until layer.width) dot += q[query + w].toDouble() * k[keys + s * layer.width + w]
                scores[s] = dot * layer.scale
                top = maxOf(top, scores[s])
            }
            var all = 0.0
            for (s in 0 until seen) {
                scores[s] = exp(scores[s] - top)
                all += scores[s]
            }
            for (s in 0 until seen) sum[s] += (scores[s] / all).toFloat()
        }
        sum
    }
}

/** Queries [T, H, W] turned by the angles of their positions, from [start] on (arXiv 2104.09864, by halves). */
internal fun rotated(q: FloatArray, of: Attention, start: Int, rotary: Rotary): FloatArray {
    val out = q.copyOf()
    val half = rotary.frequencies.size
    val layer = of.layer
    for (t in 0 until of.tokens) {
        for (pair in 0 until half) {
            val angle = ((start + t) * rotary.frequencies[pair]).toDouble()
            val cos = cos(angle) * rotary.magnitude
            val sin = sin(angle) * rotary.magnitude
            for (head in 0 until layer.heads) {
                val at = (t * layer.heads + head) * layer.width + pair
                out[at] = (q[at] * cos - q[at + half] * sin).toFloat()
                out[at + half] = (q[at + half] * cos + q[at] * sin).toFloat()
            }
        }
    }
    return out
}
