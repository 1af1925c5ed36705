package edge.core

/**
 * Text into ids, as the `tokenizer.json` says of which this is the content: BPE of bytes or of SentencePiece's pieces. What
 * it asks for and this does not do is refused with an [EdgeException], never done otherwise.
 */
class Tokenizer internal constructor(json: Json) {
    private val bpe: Bpe
    private val normalizer: Normalizer
    private val preTokenizer: PreTokenizer
    private val raw: Finder // of tokens that stand in the text as it came
    private val normal: Finder // of those that are looked for after normalization
    private val added: Map<Int, AddedToken>
    private val kind: (inside: Boolean) -> Pieces

    init {
        bpe = Bpe(json["model"])
        normalizer = normalizer(json["normalizer"])
        preTokenizer = preTokenizer(json["pre_tokenizer"])
        val tokens = json["added_tokens"].orNull()?.items(ADDED).orEmpty().map { item ->
            AddedToken(item).also { token ->
                val known = bpe.vocabulary[token.content]
                if (known != null && known != token.id) item.wrong("has the id ${token.id}, and $known in the vocabulary")
                if (known == null && bpe.vocabulary.piece(token.id) != null) item.wrong("has the id of another piece")
            }
        }
        added = tokens.associateBy { it.id }
        val (late, early) = tokens.reversed().partition { it.normalized } // of two alike, the first is found
        raw = Finder(early.associateBy { it.content })
        normal = Finder(late.associateBy { normalizer.normalized(it.content) })
        kind = piecesOf(json["decoder"])
    }

    /** One more than the highest id. */
    val size = maxOf(bpe.vocabulary.size, (added.keys.maxOrNull() ?: -1) + 1)

    /** Ids of a text, none added before or after it. */
    fun encode(text: String): IntArray {
        val ids = IdList()
        val whole = whole(text)
        for (stretch in raw.stretches(whole)) {
            if (stretch.id != null) {
                ids.add(stretch.id)
                continue
            }
            val normalized = normalizer.normalized(whole.substring(stretch.start, stretch.end))
            for (inner in normal.stretches(normalized)) {
                if (inner.id != null) ids.add(inner.id)
                else plain(Part(normalized.substring(inner.start, inner.end), stretch.start == 0 && inner.start == 0), ids)
            }
        }
        return ids.toArray()
    }

    private fun plain(part: Part, ids: IdList) {
        for (word in preTokenizer.split(part)) bpe.encode(word.text, ids)
    }

    /** Begin a text; [inside] one already, a blank before the first piece is part of it. */
    fun stream(inside: Boolean = false) = Stream(::shown, kind(inside))

    /** The piece of an id, or null where there is none or where it is not shown. */
    private fun shown(id: Int): String? {
        val token = added[id] ?: return bpe.vocabulary.piece(id)
        return if (token.special) null else token.content
    }

    internal companion object {
        const val STEPS = 32 // of normalizers, and of pre-tokenizers
        const val GROWTH = 256 // times that a replacement may be longer
        const val ADDED = 1 shl 16
    }
}

/** A text without halves of surrogate pairs, which have no UTF-8. */
private fun whole(text: String): String = String(text.toByteArray(), Charsets.UTF_8)
