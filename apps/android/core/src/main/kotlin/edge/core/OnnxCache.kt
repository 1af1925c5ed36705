package edge.core

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment

/** Tensors by the names of a graph's inputs, and of its outputs. */
internal typealias Bound = (pasts: Map<String, OnnxTensor>, presents: Map<String, OnnxTensor>) -> Unit

/**
 * Keys and values of each layer, [1, G, S, W]; the first [rows] of them are in use. It grows with the sequence, and says in
 * which tensors it is now, to [bound].
 */
internal class OnnxCache(environment: OrtEnvironment, private val sizes: Sizes, private val bound: Bound) : AutoCloseable {
    private val graph = OnnxRows(environment)
    private val tensors = HashMap<Pair<Int, String>, OnnxTensor>() // by layer and part
    private var room = minOf(FIRST, sizes.context)

    var rows = 0

    /** By the names of a graph's outputs. */
    var presents = mapOf<String, OnnxTensor>()
        private set

    init {
        sizes.layers.forEachIndexed { at, layer ->
            for (part in PARTS) tensors[at to part] = graph.empty(layer.kvHeads, room, layer.width)
        }
        bind()
    }

    /** Make room for so many more rows, up to the context. */
    fun reserve(more: Int) {
        val wanted = minOf(rows + more, sizes.context)
        if (wanted <= room) return
        val all = IntArray(rows) { it }
        replace(minOf(maxOf(wanted, room + GROWTH), sizes.context)) { layer -> Array(layer.kvHeads) { all } }
    }

    /** Keep these rows [L, G, C], with room for [more]. */
    fun keep(kept: List<Array<IntArray>>, more: Int) {
        val count = kept[0][0].size
        val of = sizes.layers.zip(kept).toMap()
        replace(minOf(count + more, sizes.context)) { of.getValue(it) }
        rows = count
    }

    /** The first [count] keys of a layer, [G, S, W] flat. */
    fun keys(layer: Int, count: Int): FloatArray {
        val of = sizes.layers[layer]
        val places = IntArray(count) { it }
        return graph.taken(tensors.getValue(layer to "key"), Array(of.kvHeads) { places }, count).use { it.values() }
    }

    override fun close() {
        tensors.values.forEach(OnnxTensor::close)
        graph.close()
    }

    private fun replace(room: Int, places: (Layer) -> Array<IntArray>) {
        for (entry in tensors) { // one by one: never two whole caches
            val old = entry.value
            entry.setValue(graph.taken(old, places(sizes.layers[entry.key.first]), room))
            old.close()
        }
        this.room = room
        bind()
    }

    private fun bind() {
        presents = named("present")
        bound(named("past_key_values"), presents)
    }

    private fun named(prefix: String) =
        tensors.entries.associate { (place, tensor) -> "$prefix.${place.first}.${place.second}" to tensor }

    private companion object {
        const val FIRST = 512
        const val GROWTH = 512 // rows: a copy of the cache is little beside as many steps, each of which reads it
        val PARTS = listOf("key", "value")
    }
}

/** What is in a tensor. */
internal fun OnnxTensor.values(): FloatArray {
    val buffer = floatBuffer // a copy already
    return if (buffer.hasArray()) buffer.array() else FloatArray(buffer.remaining()).also(buffer::get)
}
