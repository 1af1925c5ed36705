package edge.core

import java.io.File

/** Tokenizers that a stranger wrote: each is refused in words, or honoured, in little memory. */
internal fun Checks.hostile(golden: Golden) {
    val rules = golden.of("rules")
    val plain = ruled(rules, rules["cases"].items()[0])
    val model = plain["model"].value as Map<*, *>
    fun wrong(words: String, vararg fields: Pair<String, Any?>) =
        check("tokenizer.json: $words") { refused(words) { Tokenizer(plain.changed(*fields)) } }
    fun of(vararg fields: Pair<String, Any?>) = "model" to model + fields
    fun split(pattern: String) = "pre_tokenizer" to mapOf("type" to "Split", "pattern" to mapOf("Regex" to pattern), "behavior" to "Isolated")
    wrong("model is no object", "model" to null)
    wrong("of the kind WordPiece", of("type" to "WordPiece"))
    wrong("model.vocab is no object", of("vocab" to listOf<Any>()))
    wrong("has no pieces", of("vocab" to mapOf<String, Any>()))
    wrong("is no whole number of 0..4194303", of("vocab" to mapOf("a" to (1L shl 40))))
    wrong("is no whole number", of("vocab" to mapOf("a" to -1)))
    wrong("which is not in the vocabulary", of("merges" to listOf("a nothing")))
    wrong("is no pair of pieces", of("merges" to listOf("a")))
    wrong("is no pair of pieces", of("merges" to listOf("a b c")))
    wrong("is no pair of pieces", of("merges" to listOf(listOf("a"))))
    wrong("is no text", of("merges" to listOf(7)))
    wrong("has end_of_word_suffix", of("end_of_word_suffix" to "</w>"))
    wrong("drops merges by chance", of("dropout" to 0.1))
    wrong("falls back to bytes", of("byte_fallback" to true))
    wrong("unk_token is not in the vocabulary", of("unk_token" to "<nothing>"))
    wrong("a normalizer of the kind BertNormalizer", "normalizer" to mapOf("type" to "BertNormalizer"))
    wrong("replaces nothing", "normalizer" to mapOf("type" to "Replace", "pattern" to mapOf("String" to ""), "content" to "a"))
    wrong("makes a text too long", "normalizer" to mapOf("type" to "Replace", "pattern" to mapOf("String" to "a"), "content" to "a".repeat(300)))
    wrong("by a regular expression", "normalizer" to mapOf("type" to "Replace", "pattern" to mapOf("Regex" to "a"), "content" to "b"))
    wrong("makes a text too long", "normalizer" to mapOf("type" to "Sequence", "normalizers" to List(9) {
        mapOf("type" to "Replace", "pattern" to mapOf("String" to "a"), "content" to "aaaa")
    }))
    wrong("has 40 items", "normalizer" to mapOf("type" to "Sequence", "normalizers" to List(40) { mapOf("type" to "NFC") }))
    wrong("a pre-tokenizer of the kind UnicodeScripts", "pre_tokenizer" to mapOf("type" to "UnicodeScripts"))
    wrong("splits at nothing", split(""))
    for ((pattern, words) in listOf(
        "(" to "cannot use", "a{3,1}" to "cannot use", "[[:alpha:]]" to "POSIX", "[a&&b]" to "intersects", "\\b" to "has \\b", "\\w" to "has \\w",
        "(?m)a" to "group of an unknown kind", "(?<a>b)" to "unknown kind", "\\p{Foo}" to "the property Foo", "\\pL" to "without braces", "a{1,2}+" to "repeats a quantity", "a{,2}" to "without a beginning",
        "\\x{110000}" to "wrong number", "\\u12" to "wrong number", "\\" to "ends with a backslash", "(?#x)" to "unknown kind", "\\1" to "has \\1", "[]" to "empty class",
    )) wrong(words, split(pattern))
    wrong("which this app cannot show piece by piece", "decoder" to null)
    wrong("has the id of another piece", "added_tokens" to listOf(mapOf("id" to 0, "content" to "<x>")))
    wrong("is an empty token", "added_tokens" to listOf(mapOf("id" to 999, "content" to "")))
    wrong("repeats a group", split("(a|a)+\$x"))
    wrong("repeats a group", split("(?:a|b){2,}"))
    check("a pattern that backtracks for ever is given up") {
        val slow = Tokenizer(plain.changed(split("a*a*a*a*a*a*\$x")))
        refused("takes too long") { slow.encode("a".repeat(20_000) + "!") }
    }
    check("long texts take little time") {
        val tokenizers = rules["cases"].items().map { Tokenizer(ruled(rules, it)) }
        for (text in listOf("a".repeat(60_000), " ".repeat(60_000), "the ".repeat(20_000), "<|r|> ".repeat(20_000), "\n".repeat(40_000), "🙂".repeat(20_000))) {
            for ((at, tokenizer) in tokenizers.withIndex()) {
                val start = System.nanoTime()
                tokenizer.encode(text)
                val seconds = (System.nanoTime() - start) / 1e9
                if (seconds > 20) throw AssertionError("rule $at: $seconds s for ${text.take(5)}")
            }
        }
    }
    check("what a tokenizer.json does not say is what the library takes it for") {
        val bare = plain.changed("model" to model.filterKeys { it in listOf("vocab", "merges") }, "added_tokens" to null, "normalizer" to null)
        for (text in rules["texts"].texts()) equal(Tokenizer(bare).encode(text).toList(), Tokenizer(plain).encode(text).toList())
    }
    check("halves of surrogate pairs") { Tokenizer(plain).encode("a\ud800b\udc00") }
}

/** Networks that a stranger wrote. */
internal fun Checks.graphs(app: File, place: File) {
    val sizes = ModelFolder(app).description.sizes
    val other = Sizes(sizes.vocab + 1, sizes.context, sizes.layers, null)
    check("a graph of another model") { refused("is of another model than app.json") { OnnxDecoder(File(app, "text/model.onnx"), other, 1) } }
    val layer = sizes.layers[0]
    for (wrong in listOf(Layer(1 shl 20, 1 shl 20, layer.width, 1.0), Layer(layer.heads, layer.kvHeads, 1 shl 20, 1.0))) {
        val lies = Sizes(sizes.vocab, sizes.context, List(sizes.layers.size) { wrong }, null)
        check("sizes that lie take no memory") { refused("is of another model") { OnnxDecoder(File(app, "text/model.onnx"), lies, 1) } }
    }
    check("a deeper model than the graph") {
        val deep = Sizes(sizes.vocab, sizes.context, List(1024) { layer }, null)
        refused("is of another model") { OnnxDecoder(File(app, "text/model.onnx"), deep, 1) }
    }
    check("what is no graph") {
        for (bytes in listOf(ByteArray(0), "x".repeat(1000).toByteArray(), File(app, "text/model.onnx").readBytes().copyOf(5000))) {
            val file = File(place, "model.onnx").apply { writeBytes(bytes) }
            refused("ONNX Runtime cannot open model.onnx") { OnnxDecoder(file, sizes, 1) }
        }
        refused("ONNX Runtime cannot open") { OnnxDecoder(File(place, "none.onnx"), sizes, 1) }
    }
    check("a cache that cannot be cut") {
        OnnxDecoder(File(app, "text/model.onnx"), sizes, 1).use { refused("turn SnapKV off") { it.observe(intArrayOf(1)) } }
    }
}
