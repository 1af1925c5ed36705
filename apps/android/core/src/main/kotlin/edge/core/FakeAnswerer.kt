package edge.core

/**
 * Answers with a fixed text, word by word, for tests of screens. [pause]: milliseconds before each word. [problem]: is
 * thrown in place of an answer.
 */
class FakeAnswerer(
    private val text: String = "This is an answer.",
    private val pause: Long = 0,
    private val problem: Exception? = null,
) : Answerer {
    var closed = false
        private set

    override fun answer(messages: List<Message>, settings: Settings, stopped: () -> Boolean, piece: (String) -> Unit): Answer {
        problem?.let { throw it }
        val words = text.split(Regex("(?<= )")).take(settings.maxTokens)
        val said = StringBuilder()
        var count = 0
        while (count < words.size && !stopped()) {
            Thread.sleep(pause)
            said.append(words[count])
            piece(words[count++])
        }
        return Answer(said.toString(), count, pause / 1000.0, if (pause > 0) 1000.0 / pause else 0.0, count < words.size)
    }

    override fun close() {
        closed = true
    }
}
