package edge.core

import java.io.File

/** Runs checks one by one, says which of them fail, and how many there were. */
internal class Checks {
    private var passed = 0
    private var failed = 0

    fun check(name: String, block: () -> Unit) {
        try {
            block()
            passed++
        } catch (problem: Throwable) { // an assertion, or whatever a bug throws
            failed++
            println("FAILED $name: $problem")
            if (problem !is AssertionError) problem.stackTrace.take(5).forEach { println("  $it") }
        }
    }

    fun end(): Boolean {
        println("$passed passed, $failed failed")
        return passed > 0 && failed == 0
    }
}

internal fun <T> equal(found: T, wanted: T, about: String = "") {
    if (found != wanted) throw AssertionError("$about: found ${"$found".take(400)}, wanted ${"$wanted".take(400)}")
}

/** That this is refused, in words that hold [words]. */
internal fun refused(words: String, block: () -> Unit) {
    val problem = try {
        block()
        null
    } catch (error: EdgeException) {
        error.message.orEmpty()
    }
    if (problem == null) throw AssertionError("nothing was refused: $words")
    if (words !in problem) throw AssertionError("found \"$problem\", wanted \"$words\"")
    if (problem.length > 400) throw AssertionError("${problem.length} letters are no sentence: ${problem.take(100)}")
}

/** What the toolkit itself gives: apps/golden/make.py wrote it. */
internal class Golden(private val folder: File) {
    fun of(name: String): Json = File(folder, "$name.json").inputStream().use { Json.read(it, "$name.json") }
}

internal fun Json.ids(): List<Int> = items().map { it.int(0..Int.MAX_VALUE) }

internal fun Json.floats(): FloatArray = FloatArray(items().size) { items()[it].number().toFloat() }

internal fun Json.texts(): List<String> = items().map { it.text() }

/** Written as JSON again. */
internal fun written(value: Any?): String = when (value) {
    is Map<*, *> -> value.entries.joinToString(",", "{", "}") { (name, inner) -> "${written(name)}:${written(inner)}" }
    is List<*> -> value.joinToString(",", "[", "]", transform = ::written)
    is String -> value.map { if (it < ' ' || it == '"' || it == '\\') "\\u%04x".format(it.code) else it }.joinToString("", "\"", "\"")
    else -> "$value"
}

/** The same, with some of its fields changed. */
internal fun Json.changed(vararg fields: Pair<String, Any?>): Json = Json.parse(written((value as Map<*, *>) + fields))
