package edge.core

import java.util.regex.Pattern
import java.util.regex.PatternSyntaxException

/**
 * Patterns of a tokenizer.json are Oniguruma's. This writes one anew so that Java's and Android's engines, which read the
 * same letters differently, find what Oniguruma finds; what cannot be written so is refused.
 *
 * So `\s` becomes the blanks one by one (Java's is ASCII alone, and Android knows no flag for it), a dot passes all but a
 * line feed, and `^` and `$` stand at every line. A quantity with a plus behind it is refused: to Java it is possessive.
 */
internal fun pattern(oniguruma: String): Pattern {
    try {
        return Pattern.compile(Translation(oniguruma).whole(), Pattern.UNICODE_CASE)
    } catch (error: PatternSyntaxException) {
        refused(oniguruma, error.description)
    }
}

private fun refused(pattern: String, problem: String): Nothing =
    throw EdgeException("tokenizer.json has the pattern ${pattern.take(80)}, which this app cannot use: $problem.")

private class Translation(private val pattern: String) {
    private val out = StringBuilder()
    private var at = 0
    private var classes = 0 // open brackets

    fun whole(): String {
        while (at < pattern.length) step(pattern[at++])
        return out.toString()
    }

    private fun step(char: Char) {
        when {
            char == '\\' -> escape()
            char == '[' -> open()
            char == ']' && classes > 0 -> out.append(char).also { classes-- }
            classes > 0 -> inClass(char)
            char == '(' -> group()
            char == '.' -> out.append("[^\\n]")
            char == '^' -> out.append("(?<![^\\n])")
            char == '$' -> out.append("(?![^\\n])")
            char == ')' -> closed()
            char == '{' -> quantity()
            char == '}' || char == ']' -> out.append('\\').append(char) // Android's asks for it
            else -> out.append(char)
        }
    }

    private fun open() {
        if (peek() == ':' && classes > 0) refuse("it has a POSIX class")
        classes++
        out.append('[')
        if (peek() == '^') out.append(pattern[at++])
        if (peek() == ']') refuse("it has an empty class")
    }

    private fun inClass(char: Char) {
        if (char == '&' && peek() == '&') refuse("it intersects classes")
        out.append(if (char in "&#~ {}") "\\x${"%02x".format(char.code)}" else char)
    }

    private fun group() {
        out.append('(')
        if (peek() != '?') return
        val kind = GROUPS.firstOrNull { pattern.startsWith(it, at) } ?: refuse("it has a group of an unknown kind")
        out.append(kind)
        at += kind.length
    }

    /** A group that is repeated without end may be tried in more ways than there is time for, each on more of the stack. */
    private fun closed() {
        out.append(')')
        if (peek() == '*' || peek() == '+' || quantityAt(at)?.endsWith(",}") == true) refuse("it repeats a group")
    }

    private fun quantity() {
        val found = quantityAt(at - 1)
        if (found == null) {
            out.append("\\{")
            return
        }
        at += found.length - 1
        if (found.startsWith("{,")) refuse("it has a quantity without a beginning")
        if (peek() == '+') refuse("it repeats a quantity")
        out.append(found)
    }

    private fun quantityAt(start: Int): String? = QUANTITY.find(pattern, start)?.takeIf { it.range.first == start }?.value

    private fun escape() {
        if (at == pattern.length) refuse("it ends with a backslash")
        val letter = pattern[at++]
        when {
            letter in CLASSES -> set(CLASSES.getValue(letter), false)
            letter.lowercaseChar() in CLASSES -> set(CLASSES.getValue(letter.lowercaseChar()), true)
            letter == 'p' || letter == 'P' -> property(letter == 'P')
            letter == 'u' || letter == 'x' -> out.append(code(letter))
            letter in "rntf" || !letter.isLetterOrDigit() -> out.append('\\').append(letter)
            letter == 'v' -> out.append("\\x0b")
            letter == 'A' || letter == 'z' -> out.append('\\').append(letter)
            else -> refuse("it has \\$letter")
        }
    }

    private fun set(inside: String, not: Boolean) {
        // Within a class, as it is: to some engines a class inside a negated one is no part of what is negated.
        out.append(if (not) "[^$inside]" else if (classes > 0) inside else "[$inside]")
    }

    private fun property(not: Boolean) {
        val end = pattern.indexOf('}', at)
        if (peek() != '{' || end < 0) refuse("it has a property without braces")
        val name = pattern.substring(at + 1, end)
        at = end + 1
        val negated = not != name.startsWith("^")
        val known = PROPERTIES[name.removePrefix("^").lowercase()] ?: refuse("it has the property ${name.take(20)}")
        out.append(if (negated) "\\P{" else "\\p{").append(known).append('}')
    }

    private fun code(letter: Char): String {
        val digits = when {
            letter == 'u' -> pattern.substring(at, minOf(at + 4, pattern.length)).also { at += 4 }
            peek() == '{' -> pattern.substring(at + 1).substringBefore('}').also { at += it.length + 2 }
            else -> pattern.substring(at, minOf(at + 2, pattern.length)).also { at += 2 }
        }
        val wrong = digits.length !in 1..6 || (letter == 'u' && digits.length != 4)
        val value = if (wrong) null else digits.toIntOrNull(16)
        if (value == null || value !in 0..0x10ffff || value in 0xd800..0xdfff) refuse("it has a character of a wrong number")
        return "\\x{%x}".format(value)
    }

    private fun peek(): Char? = pattern.getOrNull(at)

    private fun refuse(problem: String): Nothing = refused(pattern, problem)

    private companion object {
        val GROUPS = listOf("?:", "?=", "?!", "?<=", "?<!", "?>", "?i:")
        val QUANTITY = Regex("[{]([0-9]+,?[0-9]*|,[0-9]+)[}]")
        val CLASSES = mapOf(
            's' to "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}",
            'd' to "\\p{Nd}",
        )
        val PROPERTIES: Map<String, String> =
            "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf"
                .split(" ").associateBy { it.lowercase() } +
                "Han Hiragana Katakana Hangul Latin Cyrillic Greek Arabic Hebrew Thai Devanagari"
                    .split(" ").associate { it.lowercase() to "script=$it" }
    }
}
