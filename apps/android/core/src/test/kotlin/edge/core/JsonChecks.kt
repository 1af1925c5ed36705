package edge.core

import java.io.InputStream

internal fun Checks.json() {
    check("json is read as it is written") {
        val text = """{"a":[1,-2.5e3,true,false,null,"\u00e9\ud83d\ude42\n\"\\\/"],"b":{}," ":[]}"""
        val read = Json.parse(text)
        equal(read["a"].items()[1].number(), -2500.0)
        equal(read["a"].items()[5].text(), "é🙂\n\"\\/")
        equal(read.names(), setOf("a", "b", " "))
        equal(Json.parse("${Long.MAX_VALUE}").whole(0..Long.MAX_VALUE), Long.MAX_VALUE)
    }
    val wrong = listOf(
        "", "{", "[1,]", "{\"a\":1,}", "[1 2]", "{\"a\" 1}", "{a:1}", "01", "1.", ".5", "+1", "-", "1e", "NaN", "nul", "truex",
        "\"", "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "1 1", "[]]", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800a\"",
        "\"\\ud800\\ud800\"", "\u00a01", "'a'", "[1]//", "\ufeff1", "1".repeat(65), "[".repeat(70) + "]".repeat(70),
    )
    for (text in wrong) check("json $text") { refused("is not valid JSON") { Json.parse(text, "x.json") } }
    check("bytes that are no UTF-8") {
        for (bytes in listOf(byteArrayOf(-1), byteArrayOf(-64, -128), byteArrayOf(-19, -96, -128), byteArrayOf(-30))) {
            refused("is not valid JSON") { Json.read(("\"".toByteArray() + bytes + "\"".toByteArray()).inputStream(), "x.json") }
        }
    }
    check("what asks for something else is told where it is") {
        val read = Json.parse("""{"a":[{"b":1e400}, 1.5, 1e3]}""", "x.json")
        refused("x.json cannot be used: a[0].b is no number.") { read["a"].items()[0]["b"].number() }
        refused("a[1] is no whole number of 0..9") { read["a"].items()[1].int(0..9) }
        refused("a is no text") { read["a"].text() }
        refused("c is no list") { read["c"].items() }
    }
    check("values that take too much memory are refused before they are there") {
        val lists = generateSequence { "[[],[],[],[],[],[],[],[]]," }.take(4_000_000)
        for (text in listOf(sequenceOf("[") + lists, sequenceOf("\"") + generateSequence { "a".repeat(1000) })) {
            refused("x.json holds more than this app has memory for.") { Json.read(stream(text), "x.json") }
        }
    }
}

/** A stream of texts, made as they are read. */
private fun stream(from: Sequence<String>) = object : InputStream() {
    private val texts = from.iterator()
    private var now = ByteArray(0)
    private var at = 0

    override fun read(): Int {
        while (at == now.size) {
            if (!texts.hasNext()) return -1
            now = texts.next().toByteArray()
            at = 0
        }
        return now[at++].toInt() and 0xff
    }
}
