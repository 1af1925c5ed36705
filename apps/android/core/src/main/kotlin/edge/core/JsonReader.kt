package edge.core

import java.io.InputStream

/**
 * One JSON text as maps, lists, strings, numbers (Long or Double), booleans and nulls: strict (RFC 8259), and within bounds.
 *
 * A file of a stranger may hold millions of empty lists in a few megabytes. So what the values will take in memory is
 * counted while they are read, and more than [most] bytes are refused before they are there.
 */
internal class JsonReader(private val input: InputStream, private val name: String, private val most: Long) {
    private val buffer = ByteArray(1 shl 16)
    private val bytes = Utf8Builder() // of the string that is read
    private var length = 0
    private var at = 0
    private var taken = 0L

    fun whole(): Any? {
        val value = value(0)
        if (blank() != END) wrong("something follows its end")
        return value
    }

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) wrong("it is nested deeper than $DEEPEST levels")
        return when (val first = blank()) {
            '{'.code -> members(depth)
            '['.code -> items(depth)
            '"'.code -> string()
            't'.code -> word("true", true)
            'f'.code -> word("false", false)
            'n'.code -> word("null", null)
            else -> if (first == '-'.code || first in DIGITS) number() else wrong("a value is missing")
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        take(160)
        val map = LinkedHashMap<String, Any?>()
        next()
        if (blank() == '}'.code) return map.also { next() }
        while (true) {
            if (blank() != '"'.code) wrong("a name is missing")
            val key = string()
            take(64)
            if (blank() != ':'.code) wrong("a colon is missing")
            next()
            if (key in map) wrong("it has the name ${key.take(40)} twice")
            map[key] = value(depth + 1)
            if (more('}')) return map
        }
    }

    private fun items(depth: Int): List<Any?> {
        take(64)
        val list = ArrayList<Any?>(2)
        next()
        if (blank() == ']'.code) return list.also { next() }
        while (true) {
            take(8)
            list.add(value(depth + 1))
            if (more(']')) return list
        }
    }

    /** After a value: whether another one follows, past its comma. */
    private fun more(close: Char): Boolean {
        val mark = blank()
        if (mark != close.code && mark != ','.code) wrong("a comma or a $close is missing")
        next()
        return mark == close.code
    }

    private fun string(): String {
        next()
        while (true) {
            when (val byte = next()) {
                '"'.code -> break
                '\\'.code -> escaped()
                END -> wrong("it ends within a string")
                in 0..0x1f -> wrong("a string holds a control character")
                else -> bytes.add(byte)
            }
            // To grow, what holds it needs as much again twice beside itself.
            if (bytes.size and 0xfff == 0) check(taken + 4L * bytes.size)
        }
        take(48 + 2L * bytes.size)
        return bytes.text() ?: wrong("a string is not UTF-8")
    }

    private fun escaped() {
        when (val letter = next().toChar()) {
            '"', '\\', '/' -> bytes.add(letter.code)
            'b' -> bytes.add('\b'.code)
            'f' -> bytes.add(0x0c)
            'n' -> bytes.add('\n'.code)
            'r' -> bytes.add('\r'.code)
            't' -> bytes.add('\t'.code)
            'u' -> bytes.addUnit(List(4) { Character.digit(next(), 16) }.fold(0) { code, digit ->
                if (digit < 0) wrong("a \\u has no four digits")
                code * 16 + digit
            })
            else -> wrong("a string holds an unknown escape")
        }
    }

    private fun number(): Number {
        val text = StringBuilder()
        while (peek() in NUMERIC) {
            text.append(next().toChar())
            if (text.length > 64) wrong("a number is too long")
        }
        take(32)
        if (!NUMBER.matches(text)) wrong("$text is no number")
        return text.toString().toLongOrNull() ?: text.toString().toDouble()
    }

    private fun word(word: String, value: Any?): Any? {
        for (letter in word) if (next() != letter.code) wrong("a value is missing")
        return value
    }

    /** The next byte that is no blank, not yet taken. */
    private fun blank(): Int {
        while (true) {
            val byte = peek()
            if (byte != ' '.code && byte != '\n'.code && byte != '\t'.code && byte != '\r'.code) return byte
            at++
        }
    }

    private fun next(): Int = peek().also { if (it != END) at++ }

    private fun peek(): Int {
        if (at == length) {
            length = input.read(buffer).coerceAtLeast(0)
            at = 0
            if (length == 0) return END
        }
        return buffer[at].toInt() and 0xff
    }

    private fun take(bytes: Long) {
        taken += bytes
        check(taken)
    }

    private fun check(bytes: Long) {
        if (bytes > most) throw EdgeException("$name holds more than this app has memory for.")
    }

    private fun wrong(problem: String): Nothing = throw EdgeException("$name is not valid JSON: $problem.")

    private companion object {
        const val DEEPEST = 64
        const val END = -1
        val DIGITS = '0'.code..'9'.code
        val NUMERIC = (DIGITS + "+-.eE".map { it.code }).toSet()
        val NUMBER = Regex("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")
    }
}
