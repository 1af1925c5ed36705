@file:Suppress("PackageDirectoryMismatch")

package android.content

import android.database.Cursor
import android.net.Uri
import java.io.File
import java.io.InputStream

class Context {
    val resolver = ContentResolver()

    fun getContentResolver() = resolver

    /** A text's number stands for it, and what is put into it follows. */
    fun getString(id: Int): String = "$id"

    fun getString(id: Int, vararg values: Any?): String = "$id ${values.toList()}"
}

class ContentResolver {
    var queries = 0
    var read = 0
    var leave = true

    @Suppress("UNUSED_PARAMETER")
    fun query(uri: Uri, columns: Array<String>, where: String?, values: Array<String>?, order: String?): Cursor? {
        queries++
        if (!leave) throw SecurityException("no leave")
        val files = if (uri.children) File(uri.path).listFiles()?.sorted() else listOf(File(uri.path))
        return files?.let { Cursor.of(it, columns.toList()) }
    }

    fun openInputStream(uri: Uri): InputStream? {
        if (!leave) throw SecurityException("no leave")
        val stream = File(uri.path).inputStream()
        return object : InputStream() {
            override fun read() = stream.read()

            // As a provider does: less than was asked for.
            override fun read(into: ByteArray, at: Int, most: Int) =
                stream.read(into, at, minOf(most, 1000)).also { if (it > 0) read += it }
        }
    }
}
