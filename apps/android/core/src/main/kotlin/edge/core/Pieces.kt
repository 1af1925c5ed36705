package edge.core

import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.CharBuffer
import java.nio.charset.CodingErrorAction

/** Each character of a piece stands for one byte; UTF-8 may span pieces. */
internal class BytePieces : Pieces {
    private val utf8 = Charsets.UTF_8.newDecoder()
        .onMalformedInput(CodingErrorAction.REPLACE)
        .onUnmappableCharacter(CodingErrorAction.REPLACE)
    private var held = ByteArray(0) // the beginning of a character

    // An added token may hold characters outside the table: it is plain text.
    override fun feed(piece: String) = decoded(Bytes.read(piece) ?: piece.toByteArray(), false)

    override fun finish() = decoded(ByteArray(0), true)

    private fun decoded(bytes: ByteArray, end: Boolean): String {
        val from = ByteBuffer.wrap(held + bytes)
        val to = CharBuffer.allocate(from.remaining() + 1)
        utf8.decode(from, to, end)
        if (end) utf8.flush(to).also { utf8.reset() }
        held = ByteArray(from.remaining()).also(from::get)
        (to as Buffer).flip() // as a CharBuffer's own it is missing on older Androids
        return to.toString()
    }
}

/**
 * Pieces are text with a stand-in for the blank; rare characters are runs of `<0xNN>` pieces. A run is decoded as a whole:
 * one wrong byte turns all of it into U+FFFD, so it is held until it ends.
 */
internal class SentencePieces(
    private val replaced: List<Pair<String, String>>,
    private var strip: Pair<String, Int>, // what stands at the start of a text and is dropped there, so many times
    private val fallback: Boolean,
) : Pieces {
    private var run = ByteArray(0)

    override fun feed(piece: String): String {
        val text = replaced.fold(piece) { now, (old, new) -> now.replace(old, new) }
        val byte = if (fallback) BYTE.matchEntire(text) else null
        if (byte == null) return stripped(ended() + text)
        run += byte.groupValues[1].toInt(16).toByte()
        return ""
    }

    override fun finish() = stripped(ended())

    private fun ended(): String = (utf8(run) ?: "\ufffd".repeat(run.size)).also { run = ByteArray(0) }

    private fun stripped(text: String): String {
        var (blank, count) = strip
        var left = text
        while (count > 0 && left.isNotEmpty()) {
            if (blank.isNotEmpty() && left.startsWith(blank)) {
                left = left.substring(blank.length)
                count--
            } else {
                count = 0
            }
        }
        strip = blank to count
        return left
    }

    private companion object {
        val BYTE = Regex("<0x([0-9A-Fa-f]{2})>")
    }
}
