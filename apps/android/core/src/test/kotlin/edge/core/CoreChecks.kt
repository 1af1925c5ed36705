package edge.core

import java.util.Calendar
import kotlin.math.abs

/** What needs no model: draws, rows that stay, streamed text, stop strings, conversations, and the loop over a decoder. */
internal fun Checks.core(golden: Golden) {
    for ((at, case) in golden.of("picks").items().withIndex()) {
        check("draws $at") {
            val logits = case["logits"].floats()
            val sampling = Sampling.of(case["sampling"])
            val found = case["draws"].items().map { draw -> pick(logits, sampling, case["history"].ids()) { draw.number() } }
            equal(found, case["tokens"].ids(), "$sampling")
        }
    }
    check("of tokens that weigh alike the first are drawn") {
        val sampling = Sampling(temperature = 1.0, topP = 0.51)
        equal(listOf(0.0, 0.34, 0.67, 0.99).map { draw -> pick(FloatArray(4) { 1f }, sampling, listOf()) { draw } }, listOf(0, 1, 2, 2))
    }
    check("numbers that are none are refused") {
        for (wrong in listOf(floatArrayOf(1f, Float.NaN, 2f), floatArrayOf(1f, Float.POSITIVE_INFINITY), FloatArray(2) { Float.NEGATIVE_INFINITY })) {
            refused("numbers are broken") { pick(wrong, Sampling(), listOf()) { 0.0 } }
        }
    }
    for ((at, case) in golden.of("snapkv").items().withIndex()) check("rows $at") { rows(case) }
    for ((at, case) in golden.of("streams").items().withIndex()) {
        check("stream $at") {
            val stream = piecesOf(case["decoder"])(case["inside"].flag())
            equal(case["pieces"].texts().map(stream::feed) + stream.finish(), case["shown"].texts())
        }
    }
    for (wrong in listOf("null", """{"type":"WordPiece"}""", """{"type":"Sequence","decoders":[{"type":"BPEDecoder"}]}""")) {
        check("decoder $wrong") { refused("cannot show piece by piece") { piecesOf(Json.parse("""{"decoder":$wrong}""")["decoder"]) } }
    }
    for ((at, case) in golden.of("stops").items().withIndex()) check("stops $at") { stops(case) }
    check("a stop string that is empty") { refused("is empty") { StopStrings(listOf("")) } }
    check("blanks are those of Python") { equal(trimmed("\u001c\u0085\u3000 a\ufeff \u001f"), "a\ufeff") }
    check("a date is today's", ::date)
    check("an answer ends as it should", ::endings)
    check("what is cached is not read again, but for one id") {
        equal(listOf(shared(listOf(1, 2, 3), intArrayOf(1, 2, 4)), shared(listOf(1, 2, 3), intArrayOf(1, 2, 3))), listOf(2, 2))
        equal(listOf(shared(listOf(), intArrayOf(1)), shared(listOf(1, 2, 3), intArrayOf(1, 2, 3, 4))), listOf(0, 3))
    }
}

/** Conversations become edge's ids. */
internal fun Checks.chats(golden: Golden, tokenizer: Tokenizer) {
    val chats = golden.of("chats")
    val chat = Chat(chats["chat"])
    for (talk in chats["talks"].items()) {
        val messages = talk["messages"].items().map { Message(it["role"].text(), it["content"].text()) }
        check("talk $messages") { equal(tokenizer.encode(chat.rendered(messages)).toList(), talk["ids"].ids()) }
    }
    check("a role that the model does not know") { refused("no messages of the role tool") { chat.rendered(listOf(Message("tool", ""))) } }
}

private fun rows(case: Json) {
    val options = case["options"]
    val snapkv = SnapKv(options["capacity"].int(1..99), options["window"].int(1..99), options["kernel"].int(1..99), options["sinks"].int(0..99))
    val layer = Layer(case["heads"].int(1..99), case["kv_heads"].int(1..99), case["width"].int(1..99), case["scale"].number())
    val found = votes(case["q"].floats(), case["k"].floats(), Attention(snapkv.window, layer, case["rows"].int(1..99)))
    case["votes"].items().forEachIndexed { head, wanted ->
        wanted.floats().forEachIndexed { at, vote -> if (abs(vote - found[head][at]) > 1e-4) throw AssertionError("head $head, row $at") }
    }
    equal(kept(found, layer.kvHeads, snapkv).map { it.toList() }, case["kept"].items().map { it.ids() })
}

private fun stops(case: Json) {
    val filter = StopStrings(case["stops"].texts())
    val found = mutableListOf<String>()
    for (piece in case["pieces"].texts()) {
        found.add(filter.feed(piece))
        if (filter.met) break
    }
    equal(found, case["shown"].texts())
    equal(filter.met, case["stopped"].flag())
    equal(if (filter.met) "" else filter.finish(), case["rest"].text())
}

private fun date() {
    val around = """{"prefix":"","suffix":"|","trims":false}"""
    val chat = Chat(Json.parse(
        """{"start":"On 26 Jul 2024: ","answer":">","roles":{"user":$around,"system":{"prefix":"26 Jul 2024 ","suffix":"|","trims":true}},
        "today":{"said":"26 Jul 2024","format":"%d %b %Y"}}""",
    ))
    val day = Calendar.getInstance().apply { set(2031, Calendar.FEBRUARY, 3) }
    equal(chat.rendered(listOf(Message("user", "26 Jul 2024")), day), "On 03 Feb 2031: 26 Jul 2024|>")
    equal(chat.rendered(listOf(Message("system", " s "), Message("user", "u")), day), "03 Feb 2031 s|u|>")
}

/** Says ids that were given, in order. */
private class Told(private val ids: List<Int>, override val capacity: Int = 64) : Decoder {
    private var said = 0
    override var length = 0

    override fun prefill(ids: IntArray, stopped: () -> Boolean) = next(ids.size)

    override fun step(id: Int) = next(1)

    override fun rewind(length: Int) = error("nothing is forgotten here")

    override fun close() = Unit

    private fun next(count: Int) = FloatArray(16).also {
        length += count
        it[ids[said++]] = 1f
    }
}

private class Letters : Pieces {
    override fun feed(piece: String) = piece

    override fun finish() = ""
}

private fun endings() {
    val ids = listOf(0, 1, 2, 3, 4, 5, 15)
    fun told(wish: Wish, decoder: Decoder = Told(ids), prompt: IntArray = intArrayOf(1)): Pair<String, Ending> {
        val text = StringBuilder()
        val made = generate(decoder, prompt, Stream({ "abcdefghijklmnop".substring(it, it + 1) }, Letters()), wish) { text.append(it) }
        return text.toString() to made.ending
    }
    val stop = setOf(15)
    equal(told(Wish(stop)), "abcdef" to Ending.STOP)
    equal(told(Wish(stop, stops = listOf("cd"))), "ab" to Ending.STOP)
    equal(told(Wish(stop, stops = listOf("cx"), most = 3)), "abc" to Ending.LENGTH)
    val small = Told(ids, capacity = 3)
    equal(told(Wish(stop), small, intArrayOf(1, 1)), "ab" to Ending.CONTEXT)
    refused("this model reads at most 3") { told(Wish(stop), small) }
    refused("has no tokens") { told(Wish(stop), prompt = intArrayOf()) }
    var asked = 0
    equal(told(Wish(stop, stopped = { asked++ == 2 })), "ab" to Ending.CANCELLED)
}
