@file:Suppress("PackageDirectoryMismatch")

package android.net

class Uri(val path: String, val children: Boolean = false) {
    fun getLastPathSegment(): String? = path.substringAfterLast('/')
}
