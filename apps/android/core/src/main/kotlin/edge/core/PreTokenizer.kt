package edge.core

import java.util.regex.Pattern

/** A part of a text; [first]: whether the text begins with it. */
internal class Part(val text: String, val first: Boolean)

/** Splits a text into what merges never cross. */
internal fun interface PreTokenizer {
    fun split(part: Part): List<Part>
}

/** The pre-tokenizer that a tokenizer.json describes; what this app does not know is refused. */
internal fun preTokenizer(json: Json): PreTokenizer {
    if (json.isNull) return PreTokenizer { listOf(it) }
    return when (val kind = json["type"].text()) {
        "Sequence" -> {
            val steps = json["pretokenizers"].items(Tokenizer.STEPS).map(::preTokenizer)
            PreTokenizer { steps.fold(listOf(it)) { parts, step -> parts.flatMap(step::split) } }
        }
        "ByteLevel" -> byteLevel(json)
        "Split" -> split(json)
        "Digits" -> splitter(DIGITS, if (json["individual_digits"].flag()) "Isolated" else "Contiguous", json)
        "Metaspace" -> metaspace(json)
        else -> json.wrong("is a pre-tokenizer of the kind ${kind.take(20)}, which this app does not know")
    }
}

private fun byteLevel(json: Json): PreTokenizer {
    val leads = json["add_prefix_space"].flag()
    val words = if (json["use_regex"].orNull()?.flag() ?: true) splitter(pattern(GPT2), "Isolated", json) else null
    return PreTokenizer { part ->
        val text = if (leads && !part.text.startsWith(" ")) " ${part.text}" else part.text
        val whole = Part(text, part.first)
        (words?.split(whole) ?: listOf(whole)).map { Part(Bytes.written(it.text), it.first) }
    }
}

private fun split(json: Json): PreTokenizer {
    val (needle, isRegex) = needle(json["pattern"])
    if (needle.isEmpty()) json.wrong("splits at nothing")
    val pattern = if (isRegex) pattern(needle) else Pattern.compile(Pattern.quote(needle))
    return splitter(pattern, json["behavior"].text(), json, json["invert"].orNull()?.flag() ?: false)
}

private fun metaspace(json: Json): PreTokenizer {
    val blank = json["replacement"].text()
    val scheme = json["prepend_scheme"].orNull()?.text() ?: "always"
    if (scheme !in listOf("always", "first", "never")) json.wrong("prepends ${scheme.take(20)}, which this app does not know")
    if (blank.codePointCount(0, blank.length) != 1) json.wrong("has a replacement that is not one character")
    val words = splitter(Pattern.compile(Pattern.quote(blank)), "MergedWithNext", json)
    val splits = json["split"].orNull()?.flag() ?: true
    return PreTokenizer { part ->
        val text = part.text.replace(" ", blank)
        val leads = (scheme == "always" || (scheme == "first" && part.first)) && !text.startsWith(blank)
        val whole = Part(if (leads) blank + text else text, part.first)
        if (splits) words.split(whole) else listOf(whole)
    }
}

private fun splitter(pattern: Pattern, behavior: String, json: Json, invert: Boolean = false): PreTokenizer {
    val joins: (Boolean, Boolean) -> Boolean = when (behavior) { // whether two neighbours, matches or not, stay together
        "Isolated", "Removed" -> { _, _ -> false }
        "Contiguous" -> { a, b -> a == b }
        "MergedWithPrevious" -> { a, b -> !a && b }
        "MergedWithNext" -> { a, b -> a && !b }
        else -> json.wrong("splits with the behavior ${behavior.take(20)}, which this app does not know")
    }
    return PreTokenizer { part ->
        val cuts = cuts(pattern, part.text, invert)
        val kept = if (behavior == "Removed") cuts.filter { !it.matched } else joined(cuts, joins)
        kept.filter { it.end > it.start }.map { Part(part.text.substring(it.start, it.end), part.first && it.start == 0) }
    }
}

private class Cut(val start: Int, val end: Int, val matched: Boolean)

/** A text cut at all starts and ends of what a pattern finds. */
private fun cuts(pattern: Pattern, text: String, invert: Boolean): List<Cut> {
    val out = ArrayList<Cut>()
    var done = 0
    val matcher = pattern.matcher(Patient(text))
    while (matcher.find()) {
        if (matcher.start() > done) out.add(Cut(done, matcher.start(), invert))
        out.add(Cut(matcher.start(), matcher.end(), !invert))
        done = matcher.end()
    }
    if (done < text.length) out.add(Cut(done, text.length, invert))
    return out
}

private fun joined(cuts: List<Cut>, joins: (Boolean, Boolean) -> Boolean): List<Cut> {
    val out = ArrayList<Cut>()
    var before: Boolean? = null // of the cut itself, not of what it was joined to
    for (cut in cuts) {
        if (before != null && joins(before, cut.matched)) {
            out[out.lastIndex] = Cut(out.last().start, cut.end, cut.matched)
        } else {
            out.add(cut)
        }
        before = cut.matched
    }
    return out
}

private const val GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
private val DIGITS = Pattern.compile("\\p{N}")
