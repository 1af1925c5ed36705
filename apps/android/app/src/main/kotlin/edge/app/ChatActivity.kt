// Android's own ways to keep something while the device is turned and to get a result: androidx has others.
@file:Suppress("DEPRECATION", "OVERRIDE_DEPRECATION")

package edge.app

import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.view.DragEvent
import kotlin.concurrent.thread

/** The one screen: what its buttons do, and what becomes of the model as the screen comes and goes. */
class ChatActivity : Activity() {
    private lateinit var screen: Screen
    private lateinit var model: ChatModel
    private val shelf by lazy { Shelf(this, model) }
    private var seen: Chat? = null
    private var picked: Uri? = null // a folder, until the model that is being opened is open

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setContentView(R.layout.chat)
        screen = Screen(this)
        val kept = lastNonConfigurationInstance as ChatModel? // the device was turned: what runs goes on
        model = kept ?: newModel(this).apply { saved?.getStringArray(LINES)?.let { lines += unpacked(it) } }
        model.watcher = ::shown
        screen.list(shelf.names, shelf.last)
        wire()
        seen = model.state
        screen.show(model.state, model)
    }

    private fun shown(state: Chat) {
        val named = state as? Chat.Named // one that was added, perhaps before the device was turned
        if (named != null && named.name != screen.chosen) screen.list(shelf.names, named.name)
        screen.show(state, model)
        val unsent = (state as? Chat.Failed)?.unsent ?: (state as? Chat.Done)?.unsent
        if (unsent != null && state !== seen && screen.prompt.text.isEmpty()) screen.prompt.setText(unsent) // once
        seen = state
        if (!model.busy) picked?.let {
            picked = null
            shelf.add(it)
        }
    }

    private fun wire() = with(screen) {
        sending.setOnClickListener { if (model.busy) model.stop() else sent() }
        clearing.setOnClickListener { model.clear() }
        anyway.setOnClickListener { shelf.last?.let { shelf.open(it, anyway = true) } }
        adding.setOnClickListener { pick(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), FOLDER) }
        attaching.setOnClickListener { pick(Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*"), TEXT) }
        detaching.setOnClickListener { model.attached = null }
        deleting.setOnClickListener { screen.chosen?.let(::askToDelete) }
        onChosen { if (it != shelf.last) shelf.open(it) } // a list tells of its own first choice, too
        root.setOnDragListener { _, event ->
            if (event.action == DragEvent.ACTION_DROP) Documents.dropped(this@ChatActivity, event)?.let(::attach)
            true
        }
    }

    private fun sent() {
        if (model.send(screen.prompt.text.toString(), screen.settings)) screen.prompt.setText("")
    }

    private fun pick(intent: Intent, request: Int) = try {
        startActivityForResult(intent, request)
    } catch (_: ActivityNotFoundException) {
        screen.say(getString(R.string.no_picker))
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val uri = data?.data
        if (result != RESULT_OK || uri == null) return
        if (request == TEXT) attach { Documents(this).text(uri) }
        else if (model.busy) picked = uri
        else shelf.add(uri)
    }

    /** A document may come from afar: the screen does not wait for it. */
    private fun attach(read: () -> Document) {
        thread {
            val document = runCatching(read)
            runOnUiThread { document.fold({ model.attached = it }) { screen.say(wordsFor(it)) } }
        }
    }

    private fun askToDelete(name: String) {
        AlertDialog.Builder(this)
            .setMessage(getString(R.string.sure, name))
            .setNegativeButton(android.R.string.cancel, null)
            .setPositiveButton(R.string.delete) { _, _ -> shelf.delete(name, ::chooseAgain) }
            .show()
    }

    private fun chooseAgain() {
        screen.list(shelf.names, null)
        screen.chosen?.let { shelf.open(it) }
    }

    /** Before Android 12 this would end the screen, and the conversation with it. */
    override fun onBackPressed() {
        moveTaskToBack(true)
    }

    override fun onStart() {
        super.onStart()
        if (model.state == Chat.Empty) screen.chosen?.let { shelf.open(it) }
    }

    override fun onStop() {
        super.onStop()
        if (!isChangingConfigurations) model.background()
    }

    /** The system is short of memory and the app is not seen: better without its model than ended. */
    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= TRIM_MEMORY_BACKGROUND) model.empty()
    }

    override fun onRetainNonConfigurationInstance(): Any = model

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        out.putStringArray(LINES, packed(model.lines))
    }

    override fun onDestroy() {
        super.onDestroy()
        model.watcher = {}
        if (!isChangingConfigurations) model.close()
    }
}

private const val FOLDER = 1
private const val TEXT = 2
private const val LINES = "lines"
