package edge.core

import java.io.File
import java.io.InputStream
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** A model that is on this device. */
class Stored(val name: String, val folder: File, val bytes: Long)

/**
 * One file of a model that a user picked: its [path] below the folder that was picked. [bytes] is what the system says of
 * its size, and is not relied on.
 */
class Incoming(val path: String, val bytes: Long, val open: () -> InputStream)

/**
 * The models in a folder that is the app's own. A model is copied into a folder beside the others, hashed on the way, and
 * takes its name only when it is whole: a damaged copy never replaces a good model. Everything that is refused throws an
 * [EdgeException]; what the disk refuses, an IOException.
 */
class ModelStore(private val root: File) {
    init {
        if (LOCK.tryLock()) { // else a copy is under way
            try {
                cleared()
            } finally {
                LOCK.unlock()
            }
        }
    }

    /** Whole models, by name. */
    fun list(): List<Stored> = root.listFiles().orEmpty()
        .filter { !it.name.startsWith(HIDDEN) && File(it, ModelFolder.APP).isFile }
        .map { folder -> Stored(folder.name, folder, folder.walk().filter(File::isFile).sumOf(File::length)) }
        .sortedBy { it.name }

    /**
     * Copy a model from [files], among which is one app.json. [progress] is told the share that is done, from 0 to 1; where
     * [stopped] says so, nothing stays. A model of the same name is replaced.
     */
    fun add(name: String, files: List<Incoming>, progress: (Double) -> Unit, stopped: () -> Boolean): Stored =
        LOCK.withLock {
            cleared()
            val app = files.filter { it.path == ModelFolder.APP || it.path.endsWith("/${ModelFolder.APP}") }
                .minByOrNull { file -> file.path.count { it == '/' } } ?: throw EdgeException(ModelFolder.NO_MODEL)
            val description = ModelFolder.described(app.open())
            val prefix = app.path.removeSuffix(ModelFolder.APP)
            val byPath = files.associateBy { it.path }
            val sources = description.files.map { it to (byPath[prefix + it.name] ?: missing(it)) }
            root.mkdirs()
            if (root.usableSpace < description.bytes) {
                val (needs, has) = description.bytes / MB to root.usableSpace / MB
                throw EdgeException("The model takes $needs MB, and $has MB are free on this device: delete something first.")
            }
            val made = File(root, NEW).apply { mkdirs() }
            try {
                Copy(made, description.bytes, progress, stopped).all(sources)
                app.open().use { input -> File(made, ModelFolder.APP).outputStream().use { hashed(input, it) } }
                val again = ModelFolder(made).description.files // app.json was read twice
                if (again != description.files) throw EdgeException("app.json changed while it was copied: add the model again.")
                named(made, safe(name).ifEmpty { safe(description.name).ifEmpty { "model" } })
            } finally {
                made.deleteRecursively()
            }
        }

    fun delete(name: String) = LOCK.withLock {
        val model = list().firstOrNull { it.name == name }
            ?: throw EdgeException("There is no model of the name ${name.take(60)}.")
        val gone = File(root, GONE)
        gone.deleteRecursively()
        if (!model.folder.renameTo(gone)) throw EdgeException("The model $name cannot be deleted.") // as a whole, or not at all
        gone.deleteRecursively()
        Unit
    }

    /** Bytes that a model takes at so many tokens of context; without a number, at what most conversations stay below. */
    fun needed(model: Stored, context: Int? = null): Long {
        val description = ModelFolder(model.folder).description
        return description.memory(context ?: minOf(USUAL, description.sizes.context))
    }

    /** Open a model, to compute on so many threads. What it is read for takes seconds. */
    fun open(model: Stored, threads: Int): Answerer {
        try {
            return OpenModel(ModelFolder(model.folder), threads)
        } catch (_: OutOfMemoryError) {
            throw EdgeException("There is not enough memory to open ${model.name}.")
        }
    }

    /** Give a whole copy its name: the one before it goes last. */
    private fun named(made: File, name: String): Stored {
        val place = File(root, name)
        val old = File(root, OLD + name)
        if (place.exists() && !place.renameTo(old)) throw EdgeException("The model $name is in use: it stays as it was.")
        if (!made.renameTo(place)) {
            old.renameTo(place)
            throw EdgeException("The model cannot be kept under the name $name.")
        }
        old.deleteRecursively()
        return list().first { it.name == name }
    }

    /** Take away what an app that was ended left half done; a model that was to be replaced, and was not, is back. */
    private fun cleared() {
        File(root, NEW).deleteRecursively()
        File(root, GONE).deleteRecursively()
        for (old in root.listFiles { file -> file.name.startsWith(OLD) }.orEmpty()) {
            val place = File(root, old.name.removePrefix(OLD))
            if (place.exists()) old.deleteRecursively() else old.renameTo(place)
        }
    }

    private fun missing(file: Named): Nothing =
        throw EdgeException("The file ${file.name} is missing: choose the whole folder.")

    /** What may be the name of a folder. */
    private fun safe(name: String): String {
        val letters = name.map { if (it.isLetterOrDigit() || it in "._- ") it else '-' }.joinToString("")
        return letters.trim().trimStart('.').take(60).trim()
    }

    private companion object {
        const val HIDDEN = "."
        const val NEW = ".new"
        const val OLD = ".old."
        const val GONE = ".gone"
        const val USUAL = 4096
        const val MB = 1_000_000
        val LOCK = ReentrantLock() // several stores may be of one folder
    }
}
