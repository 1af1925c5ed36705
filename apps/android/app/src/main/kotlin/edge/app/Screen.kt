package edge.app

import android.app.Activity
import android.text.format.Formatter.formatShortFileSize
import android.view.View
import android.view.View.ACCESSIBILITY_LIVE_REGION_NONE
import android.view.View.ACCESSIBILITY_LIVE_REGION_POLITE
import android.view.View.GONE
import android.view.View.VISIBLE
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.ScrollView
import android.widget.Spinner
import android.widget.Switch
import android.widget.TextView
import edge.core.Settings

/** The views of the one screen, and how a state is shown on them. */
class Screen(private val activity: Activity) {
    val root: View = activity.findViewById(R.id.root) as View
    val models = activity.findViewById(R.id.models) as Spinner
    val adding = activity.findViewById(R.id.add) as Button
    val deleting = activity.findViewById(R.id.delete) as Button
    val clearing = activity.findViewById(R.id.clear) as Button
    val anyway = activity.findViewById(R.id.anyway) as Button
    val attaching = activity.findViewById(R.id.attach) as Button
    val detaching = activity.findViewById(R.id.detach) as Button
    val sending = activity.findViewById(R.id.send) as Button
    val prompt = activity.findViewById(R.id.prompt) as EditText
    private val temperature = activity.findViewById(R.id.temperature) as EditText
    private val snapkv = activity.findViewById(R.id.snapkv) as Switch
    private val status = activity.findViewById(R.id.status) as TextView
    private val progress = activity.findViewById(R.id.progress) as ProgressBar
    private val document = activity.findViewById(R.id.document) as TextView
    private val documents = activity.findViewById(R.id.documents) as View
    private val scroll = activity.findViewById(R.id.scroll) as ScrollView
    private val log = activity.findViewById(R.id.log) as LinearLayout

    val settings get() = Settings(
        temperature = temperature.text.toString().replace(',', '.').toDoubleOrNull(),
        snapkv = snapkv.isChecked,
        seed = System.nanoTime(),
    )

    fun show(state: Chat, model: ChatModel) {
        say(wordsOf(state))
        anyway.visibility = if (state is Chat.TooLarge || state is Chat.Fell) VISIBLE else GONE
        progress.visibility = if (state is Chat.Copying) VISIBLE else GONE
        if (state is Chat.Copying) progress.progress = (state.share * progress.max).toInt()
        sending.setText(if (model.busy) R.string.stop else R.string.send)
        sending.isEnabled = model.busy || model.ready
        val idle = !model.busy
        for (view in listOf(models, adding, clearing)) view.isEnabled = idle
        deleting.isEnabled = idle && models.count > 0
        root.keepScreenOn = model.busy // a screen that goes dark stops the answer
        attach(model.attached)
        log(model.lines, (state as? Chat.Writing)?.text)
    }

    /** Set anew only where it changes: a live region is read out each time. */
    fun say(words: String) {
        if (status.text.toString() != words) status.text = words
    }

    /** The conversation, and what there is of the answer. */
    private fun log(lines: List<Line>, writing: String?) {
        val follows = !scroll.canScrollVertically(1) // not where the user has scrolled up to read
        val all = if (writing == null) lines else lines + Line("assistant", writing)
        val before = log.childCount
        if (before > all.size) log.removeViews(all.size, before - all.size)
        for (at in minOf(before, all.size) until all.size) activity.layoutInflater.inflate(R.layout.line, log)
        all.forEachIndexed { at, line -> put(line, log.getChildAt(at) as TextView, at == lines.size, at == all.lastIndex) }
        if (follows || before < all.size) scroll.post { scroll.scrollTo(0, log.bottom) } // fullScroll would take the focus
    }

    private fun put(line: Line, view: TextView, unfinished: Boolean, last: Boolean) {
        val user = line.role == "user"
        // A screen reader hears an answer once, when it is whole, and not at every token.
        view.accessibilityLiveRegion =
            if (last && !user && !unfinished) ACCESSIBILITY_LIVE_REGION_POLITE else ACCESSIBILITY_LIVE_REGION_NONE
        if (view.tag === line) return
        view.tag = line
        view.setBackgroundResource(if (user) R.drawable.said else 0)
        view.text = line.shown
        view.contentDescription =
            if (unfinished) null else activity.getString(if (user) R.string.you_said else R.string.it_said, line.shown)
    }

    private fun wordsOf(state: Chat): String = when (state) {
        Chat.Empty -> activity.getString(R.string.empty)
        is Chat.Copying -> activity.getString(R.string.copying)
        is Chat.TooLarge -> activity.getString(
            R.string.too_large, state.name, formatShortFileSize(activity, state.needed),
            formatShortFileSize(activity, state.free),
        )
        is Chat.Fell -> activity.getString(R.string.fell, state.name)
        is Chat.Opening -> activity.getString(R.string.opening, state.name)
        is Chat.Ready -> activity.getString(R.string.ready, state.name)
        is Chat.Writing -> activity.getString(R.string.writing)
        is Chat.Done -> with(state.answer) {
            val ending = if (stopped) R.string.stopped else if (tokens >= settings.maxTokens) R.string.cut else R.string.done
            activity.getString(ending, firstSeconds, tokens, tokensPerSecond)
        }
        is Chat.Failed -> state.why
    }

    private fun attach(attached: Document?) {
        documents.visibility = if (attached == null) GONE else VISIBLE
        document.text = attached?.let { activity.getString(R.string.attached, it.name, it.text.length) } ?: ""
    }

    /** The names of the models, and which is chosen. */
    fun list(names: List<String>, chosen: String?) {
        models.adapter = ArrayAdapter(activity, android.R.layout.simple_spinner_item, names).apply {
            setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
        }
        models.setSelection(names.indexOf(chosen).coerceAtLeast(0))
        models.visibility = if (names.isEmpty()) GONE else VISIBLE
    }

    val chosen get() = models.selectedItem as String?

    fun onChosen(then: (String) -> Unit) {
        models.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>, view: View?, position: Int, id: Long) =
                then(parent.getItemAtPosition(position) as String)

            override fun onNothingSelected(parent: AdapterView<*>) = Unit
        }
    }
}
