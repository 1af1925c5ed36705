package edge.core

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** Bytes of a text in UTF-8, and UTF-16 units that escapes spell: half of a surrogate pair alone is no text. */
internal class Utf8Builder {
    private var bytes = ByteArray(32)
    private var ascii = true
    private var high = 0 // of a surrogate pair whose second half must come next

    var size = 0
        private set

    fun add(byte: Int) {
        if (high != 0) put(WRONG)
        high = 0
        put(byte)
    }

    fun addUnit(unit: Int) {
        val char = unit.toChar()
        when {
            high != 0 -> {
                val code = if (char.isLowSurrogate()) Character.toCodePoint(high.toChar(), char) else -1
                high = 0
                if (code < 0) put(WRONG) else put(String(Character.toChars(code)))
            }
            char.isHighSurrogate() -> high = unit
            char.isLowSurrogate() -> put(WRONG)
            else -> put(char.toString())
        }
    }

    /** The text, or null where it is none; and begin another one. */
    fun text(): String? {
        val text = when {
            high != 0 -> null
            ascii -> String(bytes, 0, size, Charsets.US_ASCII) // most are: a vocabulary has hundreds of thousands
            else -> utf8(bytes, size)
        }
        size = 0
        high = 0
        ascii = true
        return text
    }

    private fun put(text: String) = text.toByteArray().forEach { put(it.toInt()) }

    private fun put(byte: Int) {
        if (size == bytes.size) bytes = bytes.copyOf(2 * size)
        bytes[size++] = byte.toByte()
        if (byte !in 0..0x7f) ascii = false
    }

    private companion object {
        const val WRONG = 0xff // stands in no UTF-8, so that the whole is refused
    }
}

/** The text of the first [size] of these bytes, or null where they are not UTF-8. */
internal fun utf8(bytes: ByteArray, size: Int = bytes.size): String? =
    try {
        Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes, 0, size)).toString()
    } catch (_: CharacterCodingException) {
        null
    }
