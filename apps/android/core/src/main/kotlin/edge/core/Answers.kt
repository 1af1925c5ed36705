package edge.core

/** A message of a conversation; [role] is "system", "user" or "assistant". */
data class Message(val role: String, val text: String)

/**
 * How to answer. [temperature]: null for what the model's publisher advises, 0 for the likeliest token always. [snapkv]:
 * cut the cache after a long prompt. [maxTokens]: of the answer. [seed]: the same one draws the same tokens.
 */
data class Settings(
    val temperature: Double? = null,
    val snapkv: Boolean = false,
    val maxTokens: Int = 512,
    val seed: Long = 0,
)

/**
 * An answer as it ended: its [text] and number of [tokens], seconds to the first of them, tokens a second of those that
 * followed (0 where none did), and whether it was [stopped] by whoever asked.
 */
data class Answer(
    val text: String,
    val tokens: Int,
    val firstSeconds: Double,
    val tokensPerSecond: Double,
    val stopped: Boolean,
)

/** An open model. Answers on the thread that asks; `stopped` is asked before every token. */
interface Answerer : AutoCloseable {
    /**
     * Answer a conversation that ends with a user's message. Each [piece] of text is given once it is certain, and all of
     * them are the answer's text. Throws [EdgeException] where the conversation does not fit, or cannot be written.
     */
    fun answer(messages: List<Message>, settings: Settings, stopped: () -> Boolean, piece: (String) -> Unit): Answer
}

/** What goes wrong for a reason that the user can act on: `message` is one sentence or two, in plain English. */
class EdgeException(message: String) : Exception(message)
