package edge.core

import java.io.File

/** Files on their way into a folder. */
internal class Copy(
    private val folder: File,
    private val total: Long,
    private val progress: (Double) -> Unit,
    private val stopped: () -> Boolean,
) {
    private var done = 0L

    fun all(sources: List<Pair<Named, Incoming>>) = sources.forEach { (named, source) -> one(named, source) }

    private fun one(named: Named, source: Incoming) {
        val file = File(folder, named.name)
        file.parentFile?.mkdirs()
        var left = named.bytes
        val hash = source.open().use { input ->
            file.outputStream().use { out ->
                hashed(input, out) { count ->
                    left -= count
                    if (left < 0) throw EdgeException("${named.name} has more than ${named.bytes} bytes: get it again.")
                    if (stopped()) throw EdgeException("Adding the model was stopped.")
                    done += count
                    progress(done.toDouble() / total.coerceAtLeast(1))
                }
            }
        }
        if (left > 0) throw EdgeException("${named.name} has $left bytes fewer than ${named.bytes}: get it again.")
        ModelFolder.checkHash(named, hash)
    }
}
