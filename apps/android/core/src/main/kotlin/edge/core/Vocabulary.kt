package edge.core

/** Pieces of text and their ids, both ways. */
internal class Vocabulary(json: Json) {
    private val ids = HashMap<String, Int>()
    private val pieces: Array<String?>

    init {
        val names = json.names()
        if (names.isEmpty()) json.wrong("has no pieces")
        for (name in names) ids[name] = json[name].int(0..MOST)
        pieces = arrayOfNulls(ids.values.max() + 1)
        for ((piece, id) in ids) pieces[id] = piece
    }

    operator fun get(piece: String): Int? = ids[piece]

    fun piece(id: Int): String? = pieces.getOrNull(id)

    /** One more than the highest id. */
    val size get() = pieces.size

    private companion object {
        const val MOST = (1 shl 22) - 1
    }
}
