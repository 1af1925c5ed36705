package edge.app

import android.app.Activity
import android.app.ActivityManager
import android.content.Context
import android.net.Uri
import edge.core.ModelStore
import java.io.File

/** The models in the app's own files: what [model] talks with is opened, added and deleted here. */
class Shelf(activity: Activity, private val model: ChatModel) {
    private val context = activity.applicationContext
    private val store = ModelStore(File(context.filesDir, "models"))
    private val opener = Opener(model, SavedNotes(activity), ::free, { store.needed(stored(it)) }, ::opened)

    val names get() = store.list().map { it.name }

    /** The model that was last asked for. */
    val last get() = opener.last

    fun open(name: String, anyway: Boolean = false) = opener.open(name, anyway)

    /** Copy the folder that the user picked, and open the model in it. */
    fun add(tree: Uri) = model.copy({ progress, stopped ->
        val (name, files) = Documents(context).folder(tree)
        store.add(name, files, progress, stopped).name
    }) { open(it) }

    fun delete(name: String, then: () -> Unit) = model.delete({ store.delete(name) }, then)

    private fun stored(name: String) = store.list().first { it.name == name }

    private fun opened(name: String) =
        store.open(stored(name), Runtime.getRuntime().availableProcessors().coerceIn(1, THREADS))

    private fun free() = ActivityManager.MemoryInfo()
        .also { (context.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager).getMemoryInfo(it) }.availMem

    private companion object {
        const val THREADS = 4 // a phone's large cores; the small ones slow them down
    }
}
