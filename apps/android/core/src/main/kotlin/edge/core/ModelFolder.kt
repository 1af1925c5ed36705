package edge.core

import java.io.File
import java.io.InputStream
import java.io.OutputStream
import java.security.MessageDigest

/** The folder that `edge app` wrote, on this device: refused with an [EdgeException] where it is not whole. */
internal class ModelFolder(val folder: File) {
    val description = described(file(APP).inputStream())

    /**
     * Check the files that are read into this process, and that all of them have their sizes. The weights' hash was checked
     * when they were copied; here it would cost seconds for every gigabyte.
     */
    fun check() {
        for (named in description.files) {
            val bytes = file(named.name).length()
            if (bytes != named.bytes) throw EdgeException("${named.name} has $bytes bytes and should have ${named.bytes}. $AGAIN")
            if (bytes <= SMALL) checkHash(named, file(named.name).inputStream().use { hashed(it) })
        }
    }

    fun tokenizer(): Tokenizer {
        val name = description.tokenizer.name
        return Tokenizer(file(name).inputStream().use { Json.read(it, name) })
    }

    private fun file(name: String): File {
        val file = File(folder, name)
        if (!file.isFile) throw EdgeException(if (name == APP) NO_MODEL else "The file $name is missing. $AGAIN")
        return file
    }

    companion object {
        const val APP = "app.json"
        const val AGAIN = "Add the model again."
        const val NO_MODEL = "There is no app.json: choose a folder that `edge app` wrote."
        private const val SMALL = 64L shl 20
        private const val MOST = 32L shl 20 // bytes in memory that the values of an app.json may take

        fun described(input: InputStream): Description =
            input.use { Description(Json.read(it, APP, minOf(MOST, Runtime.getRuntime().maxMemory() / 2))) }

        fun checkHash(named: Named, found: String) {
            if (found != named.sha256) throw EdgeException("${named.name} is damaged: its hash is not what app.json says. $AGAIN")
        }
    }
}

/** The SHA-256 of what is read, which also goes to [out]; [each] is called with the number of bytes that came. */
internal fun hashed(input: InputStream, out: OutputStream? = null, each: (Int) -> Unit = {}): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val buffer = ByteArray(1 shl 18)
    while (true) {
        val count = input.read(buffer)
        if (count < 0) break
        each(count)
        digest.update(buffer, 0, count)
        out?.write(buffer, 0, count)
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}
