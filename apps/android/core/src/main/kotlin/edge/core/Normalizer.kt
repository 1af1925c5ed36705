package edge.core

import java.text.Normalizer as Unicode

/** What a tokenizer does to a text before it splits it. */
internal fun interface Normalizer {
    fun normalized(text: String): String
}

/** The normalizer that a tokenizer.json describes; what this app does not know is refused. */
internal fun normalizer(json: Json): Normalizer {
    if (growth(json) > Tokenizer.GROWTH) json.wrong("makes a text too long")
    return step(json)
}

/** How many times as long it can make a text. */
private fun growth(json: Json): Double {
    if (json.isNull) return 1.0
    return when (json["type"].text()) {
        "Sequence" -> json["normalizers"].items(Tokenizer.STEPS).fold(1.0) { all, step -> all * growth(step) }
        "Prepend" -> 1.0 + json["prepend"].text().length
        "Replace" -> maxOf(1.0, json["content"].text().length / maxOf(1.0, needle(json["pattern"]).first.length.toDouble()))
        else -> 1.0
    }
}

private fun step(json: Json): Normalizer {
    if (json.isNull) return Normalizer { it }
    return when (val kind = json["type"].text()) {
        "Sequence" -> {
            val steps = json["normalizers"].items(Tokenizer.STEPS).map(::step)
            Normalizer { steps.fold(it) { text, step -> step.normalized(text) } }
        }
        "Prepend" -> {
            val lead = json["prepend"].text()
            Normalizer { if (it.isEmpty()) it else lead + it }
        }
        "Replace" -> replace(json)
        "NFC", "NFD", "NFKC", "NFKD" -> {
            val form = Unicode.Form.valueOf(kind)
            Normalizer { Unicode.normalize(it, form) }
        }
        else -> json.wrong("is a normalizer of the kind ${kind.take(20)}, which this app does not know")
    }
}

private fun replace(json: Json): Normalizer {
    val content = json["content"].text()
    val (old, isRegex) = needle(json["pattern"])
    if (isRegex) json.wrong("replaces by a regular expression, which this app does not")
    if (old.isEmpty()) json.wrong("replaces nothing by something")
    return Normalizer { it.replace(old, content) }
}

/** A pattern as tokenizer.json writes it, and whether it is a regular expression. */
internal fun needle(json: Json): Pair<String, Boolean> {
    json["String"].orNull()?.let { return it.text() to false }
    return json["Regex"].text() to true
}
