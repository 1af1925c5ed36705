package edge.core

/** Which two neighbouring pieces become which one, and which of them first: in two arrays, for there are many. */
internal class Merges(private val json: Json, private val vocabulary: Vocabulary) {
    private val keys: LongArray // of a pair of ids, or -1
    private val ranks: LongArray // the rank, and below it the id of both together

    init {
        val items = json.items(MOST)
        keys = LongArray(Integer.highestOneBit(items.size.coerceAtLeast(1)) * 4) { -1 }
        ranks = LongArray(keys.size)
        items.forEachIndexed { rank, item ->
            val (left, right) = pair(item)
            val slot = slot(key(id(left, item), id(right, item)))
            keys[slot] = key(id(left, item), id(right, item))
            ranks[slot] = rank.toLong() shl 32 or id(left + right, item).toLong()
        }
    }

    /** The rank of a merge in the upper half and the id of what it makes in the lower; -1 where two do not merge. */
    fun of(left: Int, right: Int): Long {
        val slot = slot(key(left, right))
        return if (keys[slot] < 0) -1 else ranks[slot]
    }

    private fun pair(item: Json): Pair<String, String> {
        if (item.value is List<*>) {
            val both = item.items(2)
            if (both.size == 2) return both[0].text() to both[1].text()
        } else {
            val at = item.text().indexOf(' ')
            if (at >= 0 && item.text().indexOf(' ', at + 1) < 0) return item.text().take(at) to item.text().drop(at + 1)
        }
        item.wrong("is no pair of pieces")
    }

    private fun id(piece: String, item: Json) =
        vocabulary[piece] ?: item.wrong("merges ${piece.take(40)}, which is not in the vocabulary")

    private fun key(left: Int, right: Int) = left.toLong() shl 32 or right.toLong()

    /** Where a pair lies, or would lie. */
    private fun slot(key: Long): Int {
        val mixed = key * -7046029254386353131L // spreads neighbours (the golden ratio's digits)
        var at = (mixed ushr 32).toInt() and (keys.size - 1)
        while (keys[at] >= 0 && keys[at] != key) at = (at + 1) and (keys.size - 1)
        return at
    }

    private companion object {
        const val MOST = 1 shl 22
    }
}
