package edge.app

import edge.core.Answer

/** What the screen shows: one of these at a time. Sizes are in bytes. */
sealed interface Chat {
    /** What is about one model. */
    sealed interface Named : Chat {
        val name: String
    }

    /** No model is open. */
    data object Empty : Chat

    /** A model's files are copied and checked; [share] of them, between 0 and 1, is done. */
    data class Copying(val share: Double) : Chat

    /** A model that is not opened, as it takes [needed] of memory and [free] is there. */
    data class TooLarge(override val name: String, val needed: Long, val free: Long) : Named

    /** A model that is not opened, as the app ended when it last was. */
    data class Fell(override val name: String) : Named

    data class Opening(override val name: String) : Named

    data class Ready(override val name: String) : Named

    /** [text] is what there is of the answer. */
    data class Writing(val text: String) : Chat

    /** [unsent]: what was asked, where it was stopped before a word of an answer. */
    data class Done(val answer: Answer, val unsent: String? = null) : Chat

    /** [why] is in words; [unsent] is what got no answer, for another try. */
    data class Failed(val why: String, val unsent: String? = null) : Chat
}

/** What is said: [text] goes to the model, [shown] on the screen, where a document is its name alone. */
data class Line(val role: String, val text: String, val shown: String = text)

/** A text that goes along with a message. */
data class Document(val name: String, val text: String)

/** What a user says, perhaps about a document. */
fun asked(text: String, document: Document?) = when (document) {
    null -> Line("user", text)
    else -> Line("user", "${document.text}\n\n$text", "${document.name}\n$text")
}

/** The last lines of a conversation as an array, for the system to keep: more than some 500 kB it does not hold. */
fun packed(lines: List<Line>): Array<String> {
    var room = 200_000 // characters, of two bytes
    val last = lines.takeLastWhile { line -> (room - line.text.length - line.shown.length).also { room = it } >= 0 }
    return last.dropWhile { it.role != "user" }.flatMap { listOf(it.role, it.text, it.shown) }.toTypedArray()
}

fun unpacked(kept: Array<String>): List<Line> = kept.toList().chunked(3) { (role, text, shown) -> Line(role, text, shown) }
