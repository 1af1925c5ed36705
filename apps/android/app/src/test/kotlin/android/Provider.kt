@file:Suppress("PackageDirectoryMismatch")

package android.provider

import android.net.Uri

/** As much of Android's documents as Documents asks for, on the desk's own files: an id is a path. */
object DocumentsContract {
    @JvmStatic
    fun getTreeDocumentId(tree: Uri): String = tree.path

    @JvmStatic
    fun buildDocumentUriUsingTree(@Suppress("UNUSED_PARAMETER") tree: Uri, id: String) = Uri(id)

    @JvmStatic
    fun buildChildDocumentsUriUsingTree(@Suppress("UNUSED_PARAMETER") tree: Uri, id: String) = Uri(id, children = true)
}
