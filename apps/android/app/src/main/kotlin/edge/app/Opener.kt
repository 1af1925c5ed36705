package edge.app

import edge.core.Answerer

/** A few words that outlast the app; null takes one away. */
interface Notes {
    operator fun get(key: String): String?
    operator fun set(key: String, value: String?)
}

/**
 * Opens models by name, unless there is reason to doubt that the device can: the system ends an app that takes too much
 * memory, without a word to it. [needed] says how many bytes a model takes, [free] how many there are, [with] opens it.
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
        model.show(Chat.Empty) // what is open must not count against it
        val doubt = if (anyway) null else doubt(name)
        if (doubt != null) return model.show(doubt)
        model.open(name) {
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
        val there = free()
        return try {
            needed(name).takeIf { it > there }?.let { Chat.TooLarge(name, it, there) }
        } catch (why: Exception) {
            model.failure(why)
        }
    }

    private companion object {
        const val LAST = "last"
        const val OPENING = "opening"
    }
}
