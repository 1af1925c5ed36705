package edge.app

import android.content.Context
import android.net.Uri
import edge.core.EdgeException
import java.io.File
import java.nio.file.Files

/** Checks of what is picked, over the fakes of android.* beside. */
val PICKED = mapOf(
    "a picked folder gives its name, and its files by their paths" to {
        val (name, files) = inFolder { folder ->
            File(folder, "text").mkdir()
            File(folder, "text/model.onnx").writeText("123")
            File(folder, "app.json").writeText("{}")
            Documents(Context()).folder(Uri(folder.path))
        }
        equal(name, "picked")
        equal(files.map { it.path to it.bytes }, listOf("app.json" to 2L, "text/model.onnx" to 3L))
    },
    "a picked file is read when it is asked for" to {
        inFolder { folder ->
            File(folder, "app.json").writeText("{}")
            val (_, files) = Documents(Context()).folder(Uri(folder.path))
            equal(files.single().open().use { String(it.readBytes()) }, "{}")
        }
    },
    "a whole card is not walked" to {
        inFolder { folder ->
            val deep = File(folder, "a/".repeat(50)).apply { mkdirs() }
            val context = Context()
            equal(refused { Documents(context).folder(Uri(folder.path)) }, "${R.string.no_model}")
            equal(context.resolver.queries < 10, true)
            deep.deleteRecursively()
            repeat(20) { at -> File(folder, "d$at").mkdir().also { (1..50).forEach { File(folder, "d$at/$it").createNewFile() } } }
            File(folder, "a").deleteRecursively()
            equal(refused { Documents(Context()).folder(Uri(folder.path)) }, "${R.string.no_model}")
        }
    },
    "a text is read as it is, without its mark" to {
        inFolder { folder ->
            val text = "Grüße 🙂\n".repeat(1000)
            File(folder, "d.txt").writeText("\uFEFF$text")
            equal(Documents(Context()).text(Uri("${folder.path}/d.txt")), Document("d.txt", text))
        }
    },
    "what is no text, or too long, is refused in words, and not read to its end" to {
        inFolder { folder ->
            File(folder, "d.bin").writeBytes(byteArrayOf(65, -1, 66))
            equal(refused { Documents(Context()).text(Uri("${folder.path}/d.bin")) }, "${R.string.not_text} [d.bin]")
            File(folder, "d.txt").writeBytes(ByteArray(3_000_000) { 65 })
            val context = Context()
            equal(refused { Documents(context).text(Uri("${folder.path}/d.txt")) }, "${R.string.text_too_long} [d.txt]")
            equal(context.resolver.read, (1 shl 20) + 1)
            File(folder, "d.txt").writeBytes(ByteArray(1 shl 20) { 65 })
            equal(Documents(Context()).text(Uri("${folder.path}/d.txt")).text.length, 1 shl 20)
        }
    },
    "a leave that is gone is no crash of another kind" to {
        val context = Context().apply { resolver.leave = false }
        val thrown = runCatching { Documents(context).folder(Uri("x")) }.exceptionOrNull()
        equal(thrown is SecurityException, true) // which wordsFor has words for
    },
)

private fun <T> inFolder(use: (File) -> T): T {
    val outer = Files.createTempDirectory("edge").toFile()
    try {
        return use(File(outer, "picked").apply { mkdir() })
    } finally {
        outer.deleteRecursively()
    }
}

private fun refused(what: () -> Any): String? = try {
    throw AssertionError("not refused: ${what()}")
} catch (why: EdgeException) {
    why.message
}
