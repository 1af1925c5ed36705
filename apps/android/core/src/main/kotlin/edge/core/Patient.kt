package edge.core

/**
 * A text that a pattern may look at so many times, and then is given up: how long a stranger's pattern takes cannot be seen
 * from it. (Android's engine takes a copy, and does not count.)
 */
internal class Patient(private val text: String) : CharSequence {
    private var left = LEAST + EACH * text.length

    override val length get() = text.length

    override fun get(index: Int): Char {
        if (left-- < 0) throw EdgeException("A pattern of tokenizer.json takes too long on this text: get the model's own.")
        return text[index]
    }

    override fun subSequence(startIndex: Int, endIndex: Int) = text.subSequence(startIndex, endIndex)

    override fun toString() = text

    private companion object {
        const val LEAST = 10_000_000L
        const val EACH = 1_000L
    }
}
