package edge.app

import edge.core.Answerer

/** A few words that outlast the app; null takes one away. */
interface Notes {
    operator fun get(key: String): String?
    operator fun set(key: String, value: String?)
}

/**
 * Opens models by name, unless there is reason to doubt that the device can: the system ends an app that takes too much
 * memory, without a word to it. [needed] says how many bytes a model takes, [free] how many there are, [with] opens it: on
 * the thread that models are opened on.
 */
class Opener(
    private val model: ChatModel,
    private val notes: Notes,
    private val free: () -> Long,
    private val needed: (String) -> Long,
    private val with: (String) -> Answerer,
) {
    /** The model that was last asked for. */
    val last get() = notes[LAST]

    /** Open a model, if it fits or is to be tried [anyway]. */
    fun open(name: String, anyway: Boolean = false) {
        if (model.busy) return
        notes[LAST] = name
        model.open(name) {
            // Only here is the model that was open closed, and no longer counts against this one.
            if (!anyway) doubt(name)?.let { throw Doubt(it) }
            // Where the app ends meanwhile the note stays, so that the next start does not end likewise.
            notes[OPENING] = name
            try {
                with(name)
            } finally {
                notes[OPENING] = null
            }
        }
    }

    private fun doubt(name: String): Chat? {
        if (notes[OPENING] == name) return Chat.Fell(name)
        val (takes, there) = needed(name) to free()
        return if (takes > there) Chat.TooLarge(name, takes, there) else null
    }

    private companion object {
        const val LAST = "last"
        const val OPENING = "opening"
    }
}
