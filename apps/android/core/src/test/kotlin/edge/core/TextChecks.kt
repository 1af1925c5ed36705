package edge.core

import java.io.File
import java.security.MessageDigest

/** Texts become the ids of Hugging Face's tokenizers. */
internal fun Checks.texts(golden: Golden, packaged: File) {
    val tokenizer = tokenizerOf(packaged)
    for (case in golden.of("texts").items()) {
        val text = case["text"].text()
        check("packaged $text") { equal(tokenizer.encode(text).toList(), case["ids"].ids(), text) }
    }
}

/** Each rule that a tokenizer.json may ask for, over small vocabularies. */
internal fun Checks.rules(golden: Golden) {
    val rules = golden.of("rules")
    for ((at, case) in rules["cases"].items().withIndex()) {
        val name = "rule $at ${written(case["pre_tokenizer"].value).take(120)}"
        check(name) {
            val tokenizer = Tokenizer(ruled(rules, case))
            rules["texts"].texts().zip(case["ids"].items()).forEach { (text, ids) ->
                equal(tokenizer.encode(text).toList(), ids.ids(), "\"$text\"")
            }
        }
    }
}

/** A tokenizer.json of one case. */
internal fun ruled(rules: Json, case: Json): Json {
    val kind = case["model"].text()
    val change = (case["change"].value ?: mapOf<String, Any?>()) as Map<*, *>
    val sections = listOf("normalizer", "pre_tokenizer", "added_tokens").associateWith { case[it].value }
    val decoder = mapOf("type" to if (kind == "bytes") "ByteLevel" else "Fuse")
    val model = (rules["models"][kind].value as Map<*, *>) + change
    return Json.parse(written(sections + mapOf("decoder" to decoder, "model" to model)), "tokenizer.json")
}

/** Real vocabularies, which the project does not hold. */
internal fun Checks.vocabularies(golden: Golden, assets: File) {
    val texts = golden.of("rules")["texts"].texts()
    for (told in golden.of("vocabularies").items()) {
        val file = File(assets, told["file"].text())
        check(told["file"].text()) {
            equal(hash(file), told["sha256"].text(), "another file")
            val tokenizer = tokenizerOf(file)
            texts.zip(told["ids"].items()).forEach { (text, ids) -> equal(tokenizer.encode(text).toList(), ids.ids(), "\"$text\"") }
        }
    }
}

internal fun tokenizerOf(file: File) = Tokenizer(file.inputStream().use { Json.read(it, file.name) })

private fun hash(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    return digest.digest(file.readBytes()).joinToString("") { "%02x".format(it) }
}
