package edge.core

import java.io.InputStream

/** A value of a JSON file with the place where it stands, so that whoever asks for something else is told where. */
internal class Json private constructor(private val parent: Json?, private val label: Any, val value: Any?) {
    operator fun get(name: String) = Json(this, name, fields()[name])

    val isNull get() = value == null

    /** This, or null where the file has null or nothing. */
    fun orNull(): Json? = if (isNull) null else this

    fun text(): String = value as? String ?: wrong("is no text")

    fun flag(): Boolean = value as? Boolean ?: wrong("is neither true nor false")

    fun number(): Double = (value as? Number)?.toDouble()?.takeIf { it.isFinite() } ?: wrong("is no number")

    fun whole(range: LongRange): Long = (value as? Long)?.takeIf { it in range } ?: wrong("is no whole number of $range")

    fun int(range: IntRange): Int = whole(range.first.toLong()..range.last.toLong()).toInt()

    fun items(most: Int = Int.MAX_VALUE): List<Json> {
        val list = value as? List<*> ?: wrong("is no list")
        if (list.size > most) wrong("has ${list.size} items, and at most $most are in use")
        return object : AbstractList<Json>() { // made one by one: a vocabulary has hundreds of thousands
            override val size get() = list.size
            override fun get(index: Int) = Json(this@Json, index, list[index])
        }
    }

    /** The names in it, in the order of the file. */
    fun names(): Set<String> = fields().keys

    /** Refuse it: "app.json cannot be used: decoder.layers[3] is no object." */
    fun wrong(problem: String): Nothing {
        val place = generateSequence(this) { it.parent }.toList().reversed()
        val path = place.drop(1).joinToString("") { if (it.label is Int) "[${it.label}]" else ".${it.label}" }.drop(1)
        throw EdgeException("${place[0].label} cannot be used: ${path.take(80).ifEmpty { "what it holds" }} $problem.")
    }

    @Suppress("UNCHECKED_CAST")
    private fun fields() = value as? Map<String, Any?> ?: wrong("is no object")

    companion object {
        /**
         * What a file holds. It is refused, with an [EdgeException] that names it, where it is no JSON, or where its values
         * would take more than [most] bytes of memory: three quarters of what this process may have, if nothing else is said.
         */
        fun read(input: InputStream, file: String, most: Long = Runtime.getRuntime().maxMemory() / 4 * 3) =
            Json(null, file, JsonReader(input, file, most).whole())

        fun parse(text: String, file: String = "a text") = read(text.byteInputStream(), file)
    }
}
