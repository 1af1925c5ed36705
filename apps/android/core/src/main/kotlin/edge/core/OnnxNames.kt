package edge.core

import ai.onnxruntime.NodeInfo
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo

/** That a graph is of the decoder that app.json describes: names, kinds and sizes of what goes in and comes out. */
internal class OnnxNames(session: OrtSession, private val file: String, sizes: Sizes) {
    /** Whether logits of every token come out, and not those of the last one alone. */
    val everyRow: Boolean

    init {
        val (inputs, outputs) = session.inputInfo to session.outputInfo
        sizes.layers.forEachIndexed { at, layer ->
            for (part in listOf("key", "value")) {
                cache(inputs["past_key_values.$at.$part"], layer)
                cache(outputs["present.$at.$part"], layer)
            }
        }
        val logits = shape(outputs["logits"])
        if (logits.size != 3 || logits[2] != sizes.vocab.toLong()) wrong()
        everyRow = logits[1] != 1L && "wanted" !in inputs
        val asked = setOf("input_ids", "position_ids")
        val known = asked + setOf("attention_mask", "wanted")
        if (!inputs.keys.containsAll(asked) || inputs.keys.any { it !in known && !LAYERED.matches(it) }) wrong()
    }

    private fun cache(info: NodeInfo?, layer: Layer) {
        val shape = shape(info)
        if (shape.size != 4 || shape[1] != layer.kvHeads.toLong() || shape[3] != layer.width.toLong()) wrong()
    }

    private fun shape(info: NodeInfo?): LongArray = (info?.info as? TensorInfo)?.shape ?: wrong()

    private fun wrong(): Nothing = throw EdgeException("$file is of another model than app.json. Add the model again.")

    private companion object {
        val LAYERED = Regex("(past_key_values|last|total)[.][0-9]+([.](key|value))?")
    }
}
