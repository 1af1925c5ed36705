package edge.app

import edge.core.Answer
import edge.core.Answerer
import edge.core.Message
import edge.core.Settings
import java.util.concurrent.Executor

/** Why a model is not opened, though it could be tried. */
class Doubt(val instead: Chat) : Exception()

/**
 * A conversation with a model, without its screen: used from one thread, which [main] runs on. [work] is another one: it
 * opens, answers and closes in that order, so that no model is closed while it answers. [words] says what went wrong as a
 * user reads it. What is asked while [busy] is refused.
 */
class ChatModel(work: Executor, main: Executor, private val words: (Throwable) -> String) {
    var state: Chat = Chat.Empty
        private set(value) {
            field = value
            watcher(value)
        }

    /** Is told of every new state. */
    var watcher: (Chat) -> Unit = {}

    val lines = mutableListOf<Line>()

    /** Goes along with the next message. */
    var attached: Document? = null
        set(value) {
            val other = value != field
            field = value
            if (other) watcher(state)
        }

    val busy get() = jobs.busy
    val ready get() = model != null
    private val jobs = OneAtATime(work, main)
    private var model: Opened? = null

    private class Opened(val name: String, val answerer: Answerer)

    /** Close the model, to have its memory. */
    fun empty() {
        if (busy) return
        close()
        state = Chat.Empty
    }

    /** Copy a model: [copy] tells how far it is, between 0 and 1, asks whether to stop, and gives the model's name. */
    fun copy(copy: (progress: (Double) -> Unit, stopped: () -> Boolean) -> String, then: (String) -> Unit) {
        val before = state
        var told = 0.0
        val job = started(Chat.Copying(0.0)) ?: return
        val progress = { share: Double ->
            if (share >= told + STEP) {
                told = share
                job.tell { state = Chat.Copying(share) }
            }
        }
        job.run({ copy(progress, job::stopped) }, { state = if (job.stopped) before else failure(it) }) {
            state = before
            then(it)
        }
    }

    /** Open a model in place of the one that is open. */
    fun open(name: String, with: () -> Answerer) {
        if (busy) return
        close() // first: there is rarely memory for two
        val job = started(Chat.Opening(name)) ?: return
        job.run(with, { state = if (it is Doubt) it.instead else failure(it) }) {
            if (job.stopped) {
                jobs.after(it::close)
                state = Chat.Empty
            } else {
                model = Opened(name, it)
                state = Chat.Ready(name)
            }
        }
    }

    /** Close the model and [delete] it. */
    fun delete(delete: () -> Unit, then: () -> Unit) {
        if (busy) return
        close()
        started(Chat.Empty)?.run(delete, { state = failure(it) }) {
            state = Chat.Empty
            then()
        }
    }

    /** Send a message, with what is [attached]; false where none can be sent now. */
    fun send(text: String, settings: Settings): Boolean {
        val with = model?.answerer
        if (busy || with == null || text.isBlank()) return false
        val document = attached
        lines += asked(text, document)
        val messages = lines.map { Message(it.role, it.text) }
        attached = null
        val job = started(Chat.Writing(""), writes = true) ?: return false
        val unsent = {
            lines.removeAt(lines.lastIndex)
            attached = attached ?: document
            text
        }
        job.run({ answer(job, with, messages, settings) }, { state = Chat.Failed(words(it), unsent()) }) {
            val said = it.text.isNotEmpty()
            if (said) lines += Line("assistant", it.text)
            state = Chat.Done(it, if (said) null else unsent())
        }
        return true
    }

    private fun answer(job: OneAtATime.Job, with: Answerer, messages: List<Message>, settings: Settings): Answer {
        val text = StringBuilder()
        return with.answer(messages, settings, job::stopped) { piece ->
            val sofar = text.append(piece).toString()
            job.tell { state = Chat.Writing(sofar) }
        }
    }

    /** Stop what runs, as soon as it asks. What was answered stays. */
    fun stop() = jobs.stop()

    /** The app is no longer seen: an answer stops. A copy goes on, while the system lets it. */
    fun background() = jobs.stop(onlyWriting = true)

    /** Forget the conversation. */
    fun clear() {
        if (busy) return
        lines.clear()
        state = model?.let { Chat.Ready(it.name) } ?: state
    }

    /** Close the model, after what runs. */
    fun close() {
        stop()
        val closed = model ?: return
        model = null
        jobs.after(closed.answerer::close)
    }

    private fun failure(why: Throwable): Chat = Chat.Failed(words(why))

    private fun started(first: Chat, writes: Boolean = false): OneAtATime.Job? =
        jobs.job(writes)?.also { state = first }
}

private const val STEP = 0.01 // of a copy, between two tellings
