package edge.core

/**
 * Text that ends an answer and is not part of it. Nothing is shown that may still become a stop string, and nothing else is
 * held back.
 */
internal class StopStrings(private val stops: List<String>) {
    private var held = ""

    /** Whether one was met: feed no more then. */
    var met = false
        private set

    init {
        if ("" in stops) throw EdgeException("A stop string is empty: it would end every answer.")
    }

    /** A piece of an answer -> what may be shown now. */
    fun feed(piece: String): String {
        val text = held + piece
        val first = stops.map { text.indexOf(it) to it.length }.filter { it.first >= 0 }
            .minWithOrNull(compareBy({ it.first + it.second }, { it.first })) // whichever is complete first
        if (first != null) {
            held = ""
            met = true
            return text.take(first.first)
        }
        val sure = text.length - unsure(text)
        held = text.substring(sure)
        return text.take(sure)
    }

    /** What was held back and did not become a stop string. */
    fun finish(): String = held.also { held = "" }

    private fun unsure(text: String): Int {
        val longest = minOf(stops.maxOfOrNull { it.length - 1 } ?: 0, text.length)
        return (longest downTo 1).firstOrNull { length -> stops.any { it.startsWith(text.takeLast(length)) } } ?: 0
    }
}
