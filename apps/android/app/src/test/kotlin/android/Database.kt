@file:Suppress("PackageDirectoryMismatch")

package android.database

import java.io.Closeable
import java.io.File

interface Cursor : Closeable {
    fun moveToFirst(): Boolean

    fun moveToNext(): Boolean

    fun getString(column: Int): String?

    fun getLong(column: Int): Long

    companion object {
        fun of(files: List<File>, columns: List<String>): Cursor = object : Cursor {
            private var at = -1

            override fun moveToFirst() = files.isNotEmpty().also { at = 0 }

            override fun moveToNext() = ++at < files.size

            override fun getString(column: Int) = when (columns[column]) {
                "document_id" -> files[at].path
                "_display_name" -> files[at].name
                "mime_type" -> if (files[at].isDirectory) "vnd.android.document/directory" else "text/plain"
                else -> throw IllegalArgumentException(columns[column])
            }

            override fun getLong(column: Int) = if (columns[column] == "_size") files[at].length() else -1

            override fun close() = Unit
        }
    }
}
