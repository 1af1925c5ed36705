package edge.core

/** GPT-2's table: printable Latin-1 stands for itself, other bytes for characters from U+0100 on. */
internal object Bytes {
    private val chars = CharArray(256)
    private val values = HashMap<Char, Int>()

    init {
        var next = 0x100
        for (byte in 0..255) {
            val itself = byte in 0x21..0x7e || (byte >= 0xa1 && byte != 0xad)
            chars[byte] = (if (itself) byte else next++).toChar()
            values[chars[byte]] = byte
        }
    }

    /** A character for each byte of a text in UTF-8. */
    fun written(text: String): String {
        val bytes = text.toByteArray()
        return String(CharArray(bytes.size) { chars[bytes[it].toInt() and 0xff] })
    }

    /** The bytes of a piece, or null where a character of it stands for none. */
    fun read(piece: String): ByteArray? {
        val out = ByteArray(piece.length)
        for ((at, char) in piece.withIndex()) out[at] = (values[char] ?: return null).toByte()
        return out
    }
}
