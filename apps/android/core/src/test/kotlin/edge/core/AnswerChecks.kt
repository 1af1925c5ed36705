package edge.core

import java.io.File

/** What a screen sees: conversations that go on, stop in the middle, draw by a seed, and cut their cache. */
internal fun Checks.answers(golden: Golden, app: File, place: File) {
    val store = ModelStore(File(place, "answers"))
    val stored = store.add("stories", incoming(app), {}, { false })
    val cases = golden.of("answers").items()
    val ask = { case: Json -> listOf(Message("user", case["prompt"].text())) }
    store.open(stored, 2).use { model ->
        check("answers are edge's, and their pieces the whole text") {
            for (case in cases) {
                val pieces = mutableListOf<String>()
                val answer = model.answer(ask(case), Settings(maxTokens = 48), { false }, pieces::add)
                equal(pieces, case["pieces"].texts().filter { it.isNotEmpty() })
                equal(answer.text to answer.tokens, pieces.joinToString("") to case["tokens"].ids().size)
                equal(answer.stopped, false)
                if (answer.firstSeconds <= 0 || answer.tokensPerSecond <= 0) throw AssertionError("$answer has no times")
            }
        }
        check("a conversation goes on as one that is read anew") {
            val talk = ask(cases[0]).toMutableList()
            val first = model.answer(talk, Settings(maxTokens = 20), { false }, {})
            talk += listOf(Message("assistant", first.text), Message("user", "Tell me more."))
            val next = model.answer(talk, Settings(maxTokens = 20), { false }, {})
            store.open(stored, 2).use { equal(it.answer(talk, Settings(maxTokens = 20), { false }, {}).text, next.text) }
        }
        check("an answer that is stopped keeps what it said, and the next one is whole") {
            var asked = 0
            val stopped = model.answer(ask(cases[0]), Settings(), { asked++ == 5 }, {})
            equal(stopped.stopped to stopped.tokens, true to 5)
            val whole = model.answer(ask(cases[0]), Settings(maxTokens = 48), { false }, {})
            equal(whole.text, cases[0]["pieces"].texts().joinToString(""))
            if (!whole.text.startsWith(stopped.text)) throw AssertionError("${stopped.text} does not begin ${whole.text}")
        }
        check("a long prompt is stopped between its pieces") {
            val long = listOf(Message("user", "the red kite ".repeat(400)))
            var asked = 0
            equal(model.answer(long, Settings(), { asked++ == 0 }, {}), Answer("", 0, 0.0, 0.0, true))
            equal(model.answer(ask(cases[1]), Settings(maxTokens = 48), { false }, {}).tokens, cases[1]["tokens"].ids().size)
        }
        check("a seed draws the same, another one another") {
            val drawn = listOf(1L, 1L, 2L).map { model.answer(ask(cases[0]), Settings(1.0, maxTokens = 30, seed = it), { false }, {}).text }
            equal(drawn[0], drawn[1])
            if (drawn[0] == drawn[2]) throw AssertionError("two seeds say ${drawn[0]}")
        }
        check("SnapKV is turned on and off") {
            val long = listOf(Message("user", "Marla had a red kite. Tomtin had a blue drum. ".repeat(60) + "What did Tomtin have?"))
            val cut = model.answer(long, Settings(snapkv = true, maxTokens = 8), { false }, {})
            equal(cut.text, model.answer(long, Settings(snapkv = true, maxTokens = 8), { false }, {}).text, "read anew")
            equal(model.answer(ask(cases[0]), Settings(snapkv = true, maxTokens = 48), { false }, {}).text, cases[0]["pieces"].texts().joinToString(""))
            equal(model.answer(ask(cases[0]), Settings(maxTokens = 48), { false }, {}).text, cases[0]["pieces"].texts().joinToString(""))
        }
        check("what cannot be answered is told, and the model goes on") {
            refused("reads at most 2048: begin a new one") { model.answer(listOf(Message("user", "kite ".repeat(3000))), Settings(), { false }, {}) }
            refused("no messages of the role tool") { model.answer(listOf(Message("tool", "x")), Settings(), { false }, {}) }
            refused("no message to answer") { model.answer(listOf(), Settings(), { false }, {}) }
            for (wrong in listOf(-1.0, Double.NaN)) refused("choose 0 or more") { model.answer(ask(cases[0]), Settings(wrong), { false }, {}) }
            val broken = runCatching { model.answer(ask(cases[0]), Settings(), { false }) { error("the screen") } }
            equal(broken.exceptionOrNull()?.message, "the screen")
            equal(model.answer(ask(cases[0]), Settings(maxTokens = 48), { false }, {}).tokens, cases[0]["tokens"].ids().size)
        }
    }
    check("memory does not grow with answers, nor with models that were closed") {
        val long = listOf(Message("user", "the red kite ".repeat(150))) // more than the cache has room for at first
        val some = { model: Answerer, count: Int ->
            repeat(count) { model.answer(ask(cases[it % 2]), Settings(maxTokens = 20, snapkv = it % 8 == 0), { false }, {}) }
            model.answer(long, Settings(maxTokens = 2), { false }, {})
            model.answer(ask(cases[0]), Settings(maxTokens = 2, snapkv = true), { false }, {}) // and a cache of its own
        }
        store.open(stored, 1).use { some(it, 20) }
        val before = resident()
        repeat(4) { _ -> store.open(stored, 1).use { model -> repeat(3) { some(model, 9) } } }
        val more = resident() - before
        if (more > 24_000) throw AssertionError("$more kB more than before")
    }
    check("the fake one answers like one") {
        val pieces = mutableListOf<String>()
        val answer = FakeAnswerer("One two three.").answer(listOf(), Settings(), { pieces.size == 2 }, pieces::add)
        equal(answer.text to answer.stopped, "One two " to true)
    }
}

/** Kilobytes of this process. */
private fun resident(): Long {
    System.gc()
    return File("/proc/self/status").readLines().first { it.startsWith("VmRSS") }.filter { it.isDigit() }.toLong()
}
