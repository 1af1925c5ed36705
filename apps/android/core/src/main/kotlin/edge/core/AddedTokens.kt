package edge.core

/** A token that is found in a text as a whole, before anything else happens to it. */
internal class AddedToken(json: Json) {
    val id = json["id"].int(0..(1 shl 22))
    val content = json["content"].text()
    val special = json["special"].orNull()?.flag() ?: false
    val normalized = json["normalized"].orNull()?.flag() ?: !special
    val word = json["single_word"].orNull()?.flag() ?: false // not within a longer word
    val left = json["lstrip"].orNull()?.flag() ?: false // takes the blanks before it
    val right = json["rstrip"].orNull()?.flag() ?: false // and those after it

    init {
        if (content.isEmpty()) json.wrong("is an empty token")
    }
}

/** A stretch of a text, which is a token where [id] is one. */
internal class Stretch(val start: Int, val end: Int, val id: Int?)

/** Finds tokens in a text: the leftmost first, and of those the longest. [spelled]: tokens by how a text has them. */
internal class Finder(spelled: Map<String, AddedToken>) {
    private val root = Node()

    init {
        for ((text, token) in spelled) {
            var node = root
            for (char in text) node = node.next.getOrPut(char, ::Node)
            node.token = token
        }
    }

    /** All of a text, in order. */
    fun stretches(text: String): List<Stretch> {
        val out = ArrayList<Stretch>()
        var done = 0
        var at = 0
        while (at < text.length) {
            val (token, end) = longest(text, at) ?: run { at++; null } ?: continue
            if (token.word && (inWord(text, at, -1) || inWord(text, end, 1))) {
                at = end
                continue
            }
            val start = if (token.left) maxOf(done, text.blanksBefore(at)) else at
            val stop = if (token.right) text.blanksAfter(end) else end
            if (done < start) out.add(Stretch(done, start, null))
            out.add(Stretch(start, stop, token.id))
            done = stop
            at = end
        }
        if (done < text.length) out.add(Stretch(done, text.length, null))
        return out
    }

    private fun longest(text: String, start: Int): Pair<AddedToken, Int>? {
        var found: Pair<AddedToken, Int>? = null
        var node = root
        for (at in start until text.length) {
            node = node.next[text[at]] ?: break
            node.token?.let { found = it to at + 1 }
        }
        return found
    }

    /** Whether a word goes on past [at], backwards where [step] is negative. */
    private fun inWord(text: String, at: Int, step: Int): Boolean {
        if (at == if (step < 0) 0 else text.length) return false
        val char = if (step < 0) text.codePointBefore(at) else text.codePointAt(at)
        return Character.isLetterOrDigit(char) || Character.getType(char) in WORDS
    }

    private fun String.blanksBefore(end: Int): Int {
        var at = end
        while (at > 0 && isBlank(this[at - 1])) at--
        return at
    }

    private fun String.blanksAfter(start: Int): Int {
        var at = start
        while (at < length && isBlank(this[at])) at++
        return at
    }

    private class Node {
        val next = HashMap<Char, Node>(2)
        var token: AddedToken? = null
    }

    private companion object {
        val WORDS = listOf(
            Character.NON_SPACING_MARK, Character.ENCLOSING_MARK, Character.COMBINING_SPACING_MARK,
            Character.CONNECTOR_PUNCTUATION, Character.LETTER_NUMBER,
        ).map { it.toInt() }
    }
}

/** White space as Unicode has it, which is neither Java's nor Kotlin's. */
internal fun isBlank(char: Char): Boolean = when (char) {
    in '\t'..'\r', ' ', '\u0085', '\u00a0', '\u1680', in '\u2000'..'\u200a' -> true
    '\u2028', '\u2029', '\u202f', '\u205f', '\u3000' -> true
    else -> false
}
