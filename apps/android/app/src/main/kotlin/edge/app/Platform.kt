package edge.app

import android.app.Activity
import android.content.Context
import android.os.Handler
import android.os.Looper
import edge.core.EdgeException
import java.io.IOException
import java.util.concurrent.Executors

/** A conversation that is used from the screen's thread, and outlasts the screen. */
fun newModel(screen: Activity): ChatModel {
    val context = screen.applicationContext
    val main = Handler(Looper.getMainLooper())
    return ChatModel(Executors.newSingleThreadExecutor(), { main.post(it) }) { context.wordsFor(it) }
}

/** What went wrong, as a user reads it. */
fun Context.wordsFor(why: Throwable): String = when (why) {
    is EdgeException -> why.message ?: ""
    is OutOfMemoryError -> getString(R.string.no_memory)
    is SecurityException -> getString(R.string.not_allowed)
    is IOException ->
        if ("ENOSPC" in why.toString()) getString(R.string.no_space) else getString(R.string.not_read, why.message)
    else -> getString(R.string.unexpected, why.toString())
}

/** Notes in the app's own settings. */
class SavedNotes(activity: Activity) : Notes {
    private val kept = activity.getPreferences(Context.MODE_PRIVATE)

    override fun get(key: String): String? = kept.getString(key, null)

    override fun set(key: String, value: String?) {
        kept.edit().putString(key, value).commit() // at once: the system ends an app without a word
    }
}
