package edge.core

import java.util.PriorityQueue

/** Byte-pair encoding: a word's characters, of which neighbours are merged, the lowest rank first. */
internal class Bpe(json: Json) {
    val vocabulary = Vocabulary(json["vocab"])
    private val merges: Merges
    private val wholeFirst = json["ignore_merges"].orNull()?.flag() ?: false
    private val fuses = json["fuse_unk"].orNull()?.flag() ?: false
    private val unknown: Int?
    private val bytes: IntArray? // the id of each byte's piece

    init {
        val kind = json["type"].orNull()?.text() ?: "BPE"
        if (kind != "BPE") json.wrong("is of the kind ${kind.take(20)}, and this app reads BPE")
        for (name in listOf("continuing_subword_prefix", "end_of_word_suffix")) {
            if (!json[name].orNull()?.text().isNullOrEmpty()) json.wrong("has $name, which this app does not know")
        }
        if ((json["dropout"].orNull()?.number() ?: 0.0) != 0.0) json.wrong("drops merges by chance")
        merges = Merges(json["merges"], vocabulary)
        unknown = json["unk_token"].orNull()?.let { vocabulary[it.text()] ?: it.wrong("is not in the vocabulary") }
        val falls = json["byte_fallback"].orNull()?.flag() ?: false
        val pieces = List(256) { vocabulary["<0x%02X>".format(it)] }
        if (falls && null in pieces) json.wrong("falls back to bytes, of which the vocabulary lacks some")
        bytes = if (falls) IntArray(256) { pieces[it]!! } else null
    }

    fun encode(word: String, ids: IdList) {
        if (wholeFirst) vocabulary[word]?.let { return ids.add(it) }
        val symbols = symbols(word)
        val count = symbols.size
        val id = symbols.array
        val next = IntArray(count) { it + 1 }
        val before = IntArray(count) { it - 1 }
        val queue = PriorityQueue<Merge>()
        fun offer(at: Int) {
            if (at < 0 || next[at] >= count) return
            val found = merges.of(id[at], id[next[at]])
            if (found >= 0) queue.add(Merge(found, at, id[at], id[next[at]]))
        }
        for (at in 0 until count - 1) offer(at)
        while (true) {
            val merge = queue.poll() ?: break
            val at = merge.at
            val second = next[at]
            // Another merge may have taken one of the two.
            if (id[at] != merge.left || second >= count || id[second] != merge.right) continue
            id[at] = merge.made.toInt()
            id[second] = GONE
            next[at] = next[second]
            if (next[at] < count) before[next[at]] = at
            offer(before[at])
            offer(at)
        }
        for (at in 0 until count) if (id[at] != GONE) ids.add(id[at])
    }

    /** Ids of a word's characters, rare ones as their bytes. */
    private fun symbols(word: String): IdList {
        val out = IdList(word.length)
        var fused = false // whether the last one was unknown
        var at = 0
        while (at < word.length) {
            val end = at + Character.charCount(word.codePointAt(at))
            val char = word.substring(at, end)
            val known = vocabulary[char]
            when {
                known != null -> out.add(known)
                bytes != null -> char.toByteArray().forEach { out.add(bytes[it.toInt() and 0xff]) }
                unknown != null && !(fuses && fused) -> out.add(unknown)
            }
            fused = known == null && bytes == null && unknown != null
            at = end
        }
        return out
    }

    /** Two neighbours that may become one; [made]: its rank, and below it its id. */
    private class Merge(val made: Long, val at: Int, val left: Int, val right: Int) : Comparable<Merge> {
        override fun compareTo(other: Merge): Int {
            val rank = (made ushr 32).compareTo(other.made ushr 32)
            return if (rank != 0) rank else at.compareTo(other.at)
        }
    }

    private companion object {
        const val GONE = -1
    }
}
