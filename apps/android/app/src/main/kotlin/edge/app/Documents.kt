package edge.app

import android.app.Activity
import android.content.Context
import android.database.Cursor
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document.COLUMN_DISPLAY_NAME
import android.provider.DocumentsContract.Document.COLUMN_DOCUMENT_ID
import android.provider.DocumentsContract.Document.COLUMN_MIME_TYPE
import android.provider.DocumentsContract.Document.COLUMN_SIZE
import android.provider.DocumentsContract.Document.MIME_TYPE_DIR
import android.view.DragEvent
import edge.core.EdgeException
import edge.core.Incoming
import java.io.FileNotFoundException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/**
 * What the user picks or drops. It is read at once and copied, so that no leave to read it has to outlast the app. Throws
 * EdgeException, IOException, or SecurityException where the leave is gone.
 */
class Documents(private val context: Context) {
    private val resolver = context.contentResolver
    private class Entry(val id: String, val name: String, val folder: Boolean, val bytes: Long)

    /** A folder's name, and the files below it by their paths there. */
    fun folder(tree: Uri): Pair<String, List<Incoming>> {
        val root = DocumentsContract.getTreeDocumentId(tree)
        val found = mutableListOf<Incoming>()
        below(tree, root, "", found)
        return nameOf(DocumentsContract.buildDocumentUriUsingTree(tree, root)) to found
    }

    private fun below(tree: Uri, id: String, prefix: String, found: MutableList<Incoming>) {
        // A model's folder has some twenty files, none deeper than two folders: a whole card is not walked.
        if (prefix.count { it == '/' } > DEEPEST || found.size > MOST) {
            throw EdgeException(context.getString(R.string.no_model))
        }
        for (entry in children(tree, id)) {
            val uri = DocumentsContract.buildDocumentUriUsingTree(tree, entry.id)
            val path = prefix + entry.name
            if (entry.folder) below(tree, entry.id, "$path/", found)
            else found += Incoming(path, entry.bytes) { stream(uri) }
        }
    }

    private fun children(tree: Uri, id: String): List<Entry> {
        val at = DocumentsContract.buildChildDocumentsUriUsingTree(tree, id)
        val columns = arrayOf(COLUMN_DOCUMENT_ID, COLUMN_DISPLAY_NAME, COLUMN_MIME_TYPE, COLUMN_SIZE)
        return resolver.query(at, columns, null, null, null)?.use { rows ->
            generateSequence { rows.takeIf(Cursor::moveToNext) }.map {
                Entry(it.getString(0), it.getString(1) ?: "", it.getString(2) == MIME_TYPE_DIR, it.getLong(3))
            }.toList()
        } ?: throw FileNotFoundException(at.lastPathSegment)
    }

    /** A text that is picked or dropped. */
    fun text(uri: Uri): Document {
        val data = stream(uri).use { it.readUpTo(LONGEST + 1) }
        val name = nameOf(uri)
        if (data.size > LONGEST) throw EdgeException(context.getString(R.string.text_too_long, name))
        return try {
            val text = Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString()
            Document(name, text.removePrefix("\uFEFF"))
        } catch (_: CharacterCodingException) {
            throw EdgeException(context.getString(R.string.not_text, name))
        }
    }

    private fun stream(uri: Uri): InputStream =
        resolver.openInputStream(uri) ?: throw FileNotFoundException(uri.lastPathSegment)

    private fun nameOf(uri: Uri): String =
        resolver.query(uri, arrayOf(COLUMN_DISPLAY_NAME), null, null, null)
            ?.use { if (it.moveToFirst()) it.getString(0) else null } ?: uri.lastPathSegment ?: ""

    private fun InputStream.readUpTo(most: Int): ByteArray {
        val data = ByteArray(most)
        var size = 0
        while (size < most) {
            val read = read(data, size, most - size)
            if (read < 0) break
            size += read
        }
        return data.copyOf(size)
    }

    companion object {
        private const val DEEPEST = 4
        private const val MOST = 500
        private const val LONGEST = 1 shl 20

        /** What is dropped: another app's document, or a text itself. It is read later. */
        fun dropped(activity: Activity, event: DragEvent): (() -> Document)? {
            val item = event.clipData?.takeIf { it.itemCount > 0 }?.getItemAt(0) ?: return null
            val uri = item.uri
            if (uri == null) {
                val text = item.coerceToText(activity).toString()
                val name = activity.getString(R.string.dropped)
                return if (text.isBlank()) null else ({ Document(name, text) })
            }
            // By name, as it is of API 24 and the build's android.jar is of API 23.
            Activity::class.java.getMethod("requestDragAndDropPermissions", DragEvent::class.java).invoke(activity, event)
            return { Documents(activity).text(uri) }
        }
    }
}
