package edge.core

/** Sizes of a layer's attention: query heads, kv heads, width of a head, and what scores are multiplied by. */
internal class Layer(val heads: Int, val kvHeads: Int, val width: Int, val scale: Double)

/** Radians a position of each rotated pair, and what the rotation multiplies by. */
internal class Rotary(val frequencies: FloatArray, val magnitude: Double)

/** Sizes of a decoder; [rotary] is null where its cache cannot be cut. */
internal class Sizes(val vocab: Int, val context: Int, val layers: List<Layer>, val rotary: Rotary?)

/** A file of a model: its place below the model's folder, with its size and hash. */
internal data class Named(val name: String, val bytes: Long, val sha256: String)

/** What app.json says, checked: refused with an [EdgeException] where it is of another schema, incomplete, or absurd. */
internal class Description(json: Json) {
    val name: String
    val files: List<Named>
    val tokenizer: Named
    val sizes: Sizes
    val bos: Int?
    val stop: Set<Int>
    val chat: Chat?
    val sampling: Sampling
    private val memory: List<Pair<Int, Long>> // tokens and bytes

    init {
        val schema = json["schema"].whole(0..Long.MAX_VALUE)
        if (schema != SCHEMA) json.wrong("is of schema $schema, and this app reads $SCHEMA: use the `edge app` of its time")
        val target = json["modules"]["text"]["target"].text()
        if (target != "onnx") json.wrong("is a model for ${target.take(20)}, and this app runs models for onnx")
        name = json["name"].text()
        tokenizer = named(json["tokenizer"])
        val modules = json["modules"]
        files = listOf(tokenizer) + modules.names().flatMap { modules[it]["files"].items(FILES).map(::named) }
        apart(json)
        sizes = sizes(json["decoder"])
        bos = json["bos"].orNull()?.int(0 until sizes.vocab)
        stop = json["stop"].items(FILES).map { it.int(0..MOST) }.toSet()
        chat = json["chat"].orNull()?.let(::Chat)
        sampling = Sampling.of(json["sampling"])
        memory = json["memory"].items(FILES).map { it["tokens"].int(1..MOST) to it["bytes"].whole(0..BYTES) }
        if (memory.isEmpty() || memory.zipWithNext().any { (a, b) -> a.first >= b.first }) json["memory"].wrong("does not rise")
    }

    /** Of all files. */
    val bytes = files.sumOf { it.bytes }

    /** Bytes that a run of so many tokens takes: told for some lengths, and even between them. */
    fun memory(tokens: Int): Long {
        val above = memory.indexOfFirst { it.first >= tokens }
        if (above <= 0) return memory[if (above < 0) memory.lastIndex else 0].second
        val (low, high) = memory[above - 1] to memory[above]
        return low.second + (high.second - low.second) * (tokens - low.first) / (high.first - low.first)
    }

    /** No name stands for two files, or for a file and a folder. */
    private fun apart(json: Json) {
        val names = files.map { it.name } + "app.json"
        val folders = names.flatMap { name -> name.indices.filter { name[it] == '/' }.map { name.take(it) } }.toSet()
        val alike = names.groupBy { it.lowercase() }.values.firstOrNull { it.size > 1 }?.first()
        val twice = alike ?: names.firstOrNull { it in folders }
        if (twice != null) json.wrong("names ${twice.take(60)} twice")
    }

    private fun named(json: Json): Named {
        val name = json["name"].text()
        if (name.length > 200 || !NAME.matches(name)) json.wrong("has the name ${name.take(60)}, which is no name of a file")
        val hash = json["sha256"].text()
        if (!HASH.matches(hash)) json.wrong("has no hash")
        return Named(name, json["bytes"].whole(0..BYTES), hash)
    }

    private fun sizes(json: Json) = Sizes(
        vocab = json["vocab"].int(1..MOST),
        context = json["context"].int(1..MOST),
        layers = json["layers"].items(LAYERS).map(::layer).ifEmpty { json["layers"].wrong("is empty") },
        rotary = json["rotary"].orNull()?.let { rotary ->
            Rotary(rotary["frequencies"].items(LAYERS).map { it.number().toFloat() }.toFloatArray(), rotary["magnitude"].number())
        },
    )

    private fun layer(json: Json): Layer {
        val heads = json["heads"].int(1..MOST)
        val kvHeads = json["kv_heads"].int(1..MOST)
        if (heads % kvHeads != 0) json.wrong("has $heads heads, which $kvHeads kv heads cannot share")
        return Layer(heads, kvHeads, json["head_width"].int(1..MOST), json["scale"].number())
    }

    private companion object {
        const val SCHEMA = 1L
        const val FILES = 1000
        const val LAYERS = 1024
        const val MOST = 1 shl 24
        const val BYTES = 1L shl 40
        val NAME = Regex("(?!.*(^|/)[.]{1,2}(/|$))[A-Za-z0-9_][A-Za-z0-9_. -]*(/[A-Za-z0-9_][A-Za-z0-9_. -]*)*")
        val HASH = Regex("[0-9a-f]{64}")
    }
}
