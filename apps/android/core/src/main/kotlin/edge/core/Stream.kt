package edge.core

/** Takes the vocabulary's pieces one by one and gives text as soon as it is certain. */
internal interface Pieces {
    fun feed(piece: String): String

    /** What was held back. */
    fun finish(): String
}

/** Text of a sequence of token ids as it grows: without half a character, and without text that changes later. */
class Stream internal constructor(private val piece: (Int) -> String?, private val pieces: Pieces) {
    /** What can be shown now: possibly nothing. */
    fun feed(id: Int): String = piece(id)?.let(pieces::feed) ?: ""

    /** What was held back: an unfinished character becomes U+FFFD. */
    fun finish(): String = pieces.finish()
}

/** The streaming twin of the `decoder` of a tokenizer.json. */
internal fun piecesOf(decoder: Json): (inside: Boolean) -> Pieces {
    val steps = flat(decoder)
    val kinds = steps.map { it["type"].text() }
    if (kinds == listOf("ByteLevel")) return { BytePieces() }
    val strip = steps.lastOrNull()?.takeIf { kinds.last() == "Strip" }
    val replaces = steps.filter { it["type"].text() == "Replace" }
    val rest = kinds.dropLast(if (strip == null) 0 else 1).filter { it != "Replace" }
    val ends = strip?.get("stop")?.int(0..MOST) ?: 0
    val simple = replaces.all { !needle(it["pattern"]).second } && ends == 0
    if (!simple || rest.takeLast(1) != listOf("Fuse") || rest.dropLast(1) !in listOf(listOf(), listOf("ByteFallback"))) {
        decoder.wrong("is of ${kinds.joinToString().take(80).ifEmpty { "nothing" }}, which this app cannot show piece by piece")
    }
    val replaced = replaces.map { needle(it["pattern"]).first to it["content"].text() }
    if (replaced.any { it.first.isEmpty() || it.second.length > Tokenizer.GROWTH }) decoder.wrong("makes a text too long")
    val start = strip?.let { it["content"].text() to it["start"].int(0..MOST) } ?: ("" to 0)
    return { inside -> SentencePieces(replaced, if (inside) "" to 0 else start, "ByteFallback" in rest) }
}

private fun flat(decoder: Json): List<Json> {
    if (decoder.isNull) return listOf()
    if (decoder["type"].text() != "Sequence") return listOf(decoder)
    return decoder["decoders"].items(Tokenizer.STEPS).flatMap(::flat)
}

private const val MOST = 1 shl 20
