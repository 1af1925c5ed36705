package edge.core

import java.io.File

/**
 * Answers a prompt once for every line that comes in, and says tokens and tokens a second: `bench APP THREADS MOST PROMPT`.
 * tests/bench/jvm.py takes turns with `edge`.
 */
internal fun bench(app: File, threads: Int, most: Int, prompt: String) {
    OpenModel(ModelFolder(app), threads).use { model ->
        println("ready")
        while (readlnOrNull() != null) {
            val messages = listOf(Message("user", prompt))
            val answer = model.answer(messages, Settings(temperature = 0.0, maxTokens = most), { false }, {})
            println("${answer.tokens} ${answer.tokensPerSecond} ${answer.firstSeconds}")
        }
    }
}
