package edge.app

import edge.core.Answer
import edge.core.Answerer
import edge.core.EdgeException
import edge.core.FakeAnswerer
import edge.core.Incoming
import edge.core.Message
import edge.core.ModelStore
import edge.core.Settings
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executor
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import kotlin.system.exitProcess

/** Checks of the conversation without its screen, each that fails is told; or `APP STORE PROMPT`: what a model says. */
fun main(args: Array<String>) {
    if (args.isNotEmpty()) return said(File(args[0]), File(args[1]), args[2])
    var failed = 0
    val all = CHECKS + PICKED
    for ((name, check) in all) {
        try {
            check()
        } catch (problem: Throwable) {
            failed++
            println("FAILED $name: $problem\n  ${problem.stackTrace.take(6).joinToString("\n  ")}")
        }
    }
    println("${all.size - failed} passed, $failed failed")
    exitProcess(if (failed == 0) 0 else 1) // threads may be left
}

/** Add the folder that `edge app` wrote, open it, and ask it, as the screen does. */
private fun said(app: File, root: File, prompt: String) {
    val table = Table()
    val store = ModelStore(root)
    val opener = Opener(table.model, Notebook(), { Long.MAX_VALUE }, { name -> store.needed(store.named(name)) }) {
        store.open(store.named(it), 2)
    }
    val files = app.walk().filter(File::isFile).map { Incoming("stories/${it.toRelativeString(app)}", 0, it::inputStream) }
    table.model.copy({ progress, stopped -> store.add("stories", files.toList(), progress, stopped).name }) { opener.open(it) }
    table.settle()
    equal(table.model.state, Chat.Ready("stories"))
    table.model.send(prompt, Settings(temperature = 0.0, maxTokens = 200))
    table.settle()
    println((table.model.state as Chat.Done).answer.text)
    equal(table.model.lines.last().text, (table.model.state as Chat.Done).answer.text)
    table.model.delete({ store.delete("stories") }) {}
    table.settle()
    equal(store.list().size, 0)
}

private fun ModelStore.named(name: String) = list().first { it.name == name }

/** A thread that runs what it was given when it is told to. */
class Hand : Executor {
    private val given = ArrayDeque<Runnable>()

    override fun execute(what: Runnable) {
        given.addLast(what)
    }

    fun run() {
        while (given.isNotEmpty()) given.removeFirst().run()
    }
}

/** Says its pieces, [between] them what is asked of it, and keeps what it was given. */
class Scripted(private val pieces: List<String>, private val between: (Int) -> Unit = {}) : Answerer {
    val asked = mutableListOf<List<Message>>()
    var closed = 0

    override fun answer(messages: List<Message>, settings: Settings, stopped: () -> Boolean, piece: (String) -> Unit): Answer {
        check(closed == 0) { "a closed model is asked" }
        asked += messages
        var text = ""
        pieces.forEachIndexed { at, one ->
            between(at)
            check(closed == 0) { "closed in the middle" }
            if (stopped()) return Answer(text, at, 0.1, 9.0, true)
            text += one
            piece(one)
        }
        return Answer(text, pieces.size, 0.1, 9.0, false)
    }

    override fun close() {
        closed++
    }
}

/** A conversation whose two threads are one: nothing happens but what [settle] lets. */
class Table {
    val work = Hand()
    val main = Hand()
    val model = ChatModel(work, main) { it.message ?: "it" }
    val states = mutableListOf<Chat>()

    init {
        model.watcher = { states += it }
    }

    fun settle() = repeat(3) {
        work.run()
        main.run()
    }

    fun opened(answerer: Answerer) = apply {
        model.open("m") { answerer }
        settle()
        states.clear()
    }

    fun said(text: String, document: Document? = null): Boolean {
        if (document != null) model.attached = document
        return model.send(text, Settings()).also { settle() }
    }
}

fun <T> equal(found: T, wanted: T) {
    if (found != wanted) throw AssertionError("found $found, wanted $wanted")
}

private val CHECKS = mapOf(
    "an answer is shown as it is written" to {
        val table = Table().opened(Scripted(listOf("Once ", "upon")))
        equal(table.said("Tell"), true)
        equal(table.states.dropLast(1), listOf(Chat.Writing(""), Chat.Writing("Once "), Chat.Writing("Once upon")))
        equal((table.states.last() as Chat.Done).answer.text, "Once upon")
        equal(table.model.lines, listOf(Line("user", "Tell"), Line("assistant", "Once upon")))
    },
    "stopped in the middle, what was said stays and the conversation goes on" to {
        lateinit var table: Table
        val answerer = Scripted(listOf("a", "b", "c")) { if (it == 1) table.model.stop() }
        table = Table().opened(answerer)
        table.said("One")
        val done = table.model.state as Chat.Done
        equal(done.answer.stopped to done.unsent, true to null)
        equal(table.model.lines.last(), Line("assistant", "a"))
        table.said("Two")
        equal(answerer.asked.last(), listOf(Message("user", "One"), Message("assistant", "a"), Message("user", "Two")))
    },
    "stopped before a word, the message comes back" to {
        lateinit var table: Table
        table = Table().opened(Scripted(listOf("a")) { table.model.stop() })
        table.said("One", Document("d.txt", "text"))
        equal((table.model.state as Chat.Done).unsent to table.model.attached, "One" to Document("d.txt", "text"))
        equal(table.model.lines, emptyList())
    },
    "an error is told in words, and the message comes back" to {
        var fails = true
        val table = Table().opened(Scripted(listOf("a")) { if (fails) throw EdgeException("It is too long.") })
        table.model.lines += listOf(Line("user", "One"), Line("assistant", "a"))
        table.said("One")
        equal(table.model.state, Chat.Failed("It is too long.", "One"))
        equal(table.model.lines, listOf(Line("user", "One"), Line("assistant", "a")))
        fails = false
        equal(table.said("One"), true)
        equal(table.model.lines.last().text, "a")
    },
    "memory that runs out is told, too" to {
        val table = Table().opened(Scripted(listOf("a")) { throw OutOfMemoryError("no more") })
        table.said("One")
        equal(table.model.state, Chat.Failed("no more", "One"))
        equal(table.model.ready to table.model.busy, true to false)
    },
    "a document goes to the model, its name to the screen" to {
        val answerer = Scripted(listOf("a"))
        val table = Table().opened(answerer)
        table.said("What is it?", Document("d.txt", "A long text."))
        equal(answerer.asked.single(), listOf(Message("user", "A long text.\n\nWhat is it?")))
        equal(table.model.lines.first().shown, "d.txt\nWhat is it?")
        equal(table.model.attached, null)
        table.states.clear()
        table.model.attached = Document("e.txt", "text")
        equal(table.states, listOf(table.model.state)) // so that it is shown
    },
    "in the background an answer stops and a copy does not" to {
        lateinit var table: Table
        table = Table().opened(Scripted(listOf("a", "b")) { if (it == 1) table.model.background() })
        table.said("One")
        equal((table.model.state as Chat.Done).answer.text, "a")
        table.model.copy({ _, stopped -> table.model.background(); "n${stopped()}" }) { equal(it, "nfalse") }
        table.settle()
        equal(table.model.busy, false)
    },
    "what is asked while it answers is refused" to {
        lateinit var table: Table
        val answerer = Scripted(listOf("a")) {
            val before = table.states.toList()
            equal(table.model.send("Two", Settings()), false)
            table.model.clear()
            table.model.open("other") { throw AssertionError("opened") }
            table.model.copy({ _, _ -> throw AssertionError("copied") }) {}
            table.model.delete({ throw AssertionError("deleted") }) {}
            table.model.empty()
            equal(table.states.toList(), before)
        }
        table = Table().opened(answerer)
        table.said("One")
        equal(answerer.asked.size to answerer.closed, 1 to 0)
        equal(table.model.lines.map { it.text }, listOf("One", "a"))
    },
    "nothing is sent without a model, nor nothing" to {
        equal(Table().said("One"), false)
        val table = Table().opened(Scripted(listOf("a")))
        equal(table.said(" \n"), false)
        equal(table.states, emptyList<Chat>())
    },
    "a model is closed once, and before the next is opened" to {
        val first = Scripted(listOf("a"))
        val table = Table().opened(first)
        var closed = 0
        table.model.open("n") { Scripted(listOf("b")).also { closed = first.closed } }
        table.settle()
        equal(closed to first.closed, 1 to 1)
        equal(table.model.state, Chat.Ready("n"))
        table.model.close()
        table.model.close()
        table.settle()
        equal(first.closed to table.model.ready, 1 to false)
    },
    "a model is not closed while it answers" to {
        lateinit var table: Table
        val answerer = Scripted(listOf("a", "b")) { if (it == 1) table.model.close() }
        table = Table().opened(answerer)
        table.said("One")
        equal(answerer.closed to (table.model.state as Chat.Done).answer.text, 1 to "a")
    },
    "a model that is no longer wanted when it is open is closed" to {
        val answerer = Scripted(listOf("a"))
        val table = Table()
        table.model.open("m") { answerer.also { table.model.stop() } }
        table.settle()
        equal(answerer.closed to table.model.ready, 1 to false)
        equal(table.model.state, Chat.Empty)
    },
    "a model that cannot be opened is told" to {
        val table = Table()
        table.model.open("m") { throw EdgeException("It is damaged.") }
        table.settle()
        equal(table.states, listOf(Chat.Opening("m"), Chat.Failed("It is damaged.")))
        equal(table.model.ready to table.model.busy, false to false)
    },
    "a copy tells how far it is, in steps that a screen can follow" to {
        val table = Table()
        table.model.copy({ progress, _ -> (1..100_000).forEach { progress(it / 100_000.0) }; "m" }) { table.model.open(it) { Scripted(listOf("a")) } }
        table.settle()
        val shares = table.states.filterIsInstance<Chat.Copying>().map { it.share }
        equal(shares.size in 50..101, true)
        equal(shares, shares.sorted())
        equal(table.model.state, Chat.Ready("m"))
    },
    "a copy that is stopped leaves the model that is open" to {
        val table = Table().opened(Scripted(listOf("a")))
        table.model.copy({ _, stopped -> table.model.stop(); if (stopped()) throw EdgeException("stopped"); "n" }) { throw AssertionError(it) }
        table.settle()
        equal(table.model.state to table.model.ready, Chat.Ready("m") to true)
        table.model.copy({ _, _ -> throw EdgeException("It is damaged.") }) { throw AssertionError(it) }
        table.settle()
        equal(table.model.state to table.model.ready, Chat.Failed("It is damaged.") to true)
    },
    "a model is closed before it is deleted" to {
        val answerer = Scripted(listOf("a"))
        val table = Table().opened(answerer)
        var deleted = false
        table.model.delete({ deleted = answerer.closed == 1 }) {}
        table.settle()
        equal(deleted to table.model.state, true to Chat.Empty)
    },
    "a new chat forgets the old one and keeps the model" to {
        val answerer = Scripted(listOf("a"))
        val table = Table().opened(answerer)
        table.said("One")
        table.model.clear()
        equal(table.model.state, Chat.Ready("m"))
        table.said("Two")
        equal(answerer.asked.last(), listOf(Message("user", "Two")))
    },
    "a screen that comes in the middle is told of the rest" to {
        lateinit var table: Table
        val seen = mutableListOf<Chat>()
        table = Table().opened(Scripted(listOf("a", "b")) { if (it == 1) { table.main.run(); table.model.watcher = { seen += it } } })
        table.said("One")
        equal(seen.first(), Chat.Writing("ab"))
        equal(seen.last() is Chat.Done, true)
    },
    "a model that does not fit is not opened, unless it must be" to {
        val shelf = Notebook()
        shelf.open(needed = 3000, free = 2000)
        equal(shelf.table.model.state, Chat.TooLarge("m", 3000, 2000))
        equal(shelf.opened, 0)
        shelf.open(needed = 3000, free = 2000, anyway = true)
        equal(shelf.table.model.state to shelf.opened, Chat.Ready("m") to 1)
        shelf.open(needed = 2000, free = 2000)
        equal(shelf.opened, 2)
    },
    "the memory of the model that is open does not count against the next" to {
        val answerer = Scripted(listOf("a"))
        val shelf = Notebook(Table().opened(answerer))
        var closed = 0
        shelf.opener(1, { closed = answerer.closed; 2 }).open("m")
        shelf.table.settle()
        equal(closed, 1)
    },
    "a model at which the app ended is not opened by itself" to {
        val shelf = Notebook()
        lateinit var left: Map<String, String> // where the app ends while the model is opened
        shelf.with = { Scripted(listOf("a")).also { left = shelf.notes.toMap() } }
        shelf.open(needed = 1, free = 2)
        equal(left, mapOf("last" to "m", "opening" to "m"))
        val next = Notebook(notes = left.toMutableMap())
        next.open(needed = 1, free = 2)
        equal(next.table.model.state to next.opened, Chat.Fell("m") to 0)
        next.open(needed = 1, free = 2, anyway = true)
        equal(next.table.model.state to next.notes["opening"], Chat.Ready("m") to null)
        next.with = { throw EdgeException("It is damaged.") }
        next.open(needed = 1, free = 2)
        equal(next.table.model.state to next.notes["opening"], Chat.Failed("It is damaged.") to null)
    },
    "a model whose memory cannot be told is not opened" to {
        val shelf = Notebook()
        Opener(shelf.table.model, shelf, { 1 }, { throw EdgeException("It is gone.") }) { throw AssertionError(it) }.open("m")
        shelf.table.settle()
        equal(shelf.table.model.state, Chat.Failed("It is gone."))
    },
    "a conversation is kept as the system can hold it" to {
        val lines = listOf(Line("user", "a", "d\na"), Line("assistant", "b"))
        equal(unpacked(packed(lines)), lines)
        val long = (1..100).flatMap { listOf(Line("user", "q".repeat(1000)), Line("assistant", "a$it".repeat(1000))) }
        val kept = unpacked(packed(long))
        equal(kept.sumOf { it.text.length + it.shown.length } <= 200_000, true)
        equal(kept.first().role to kept.last(), "user" to long.last())
        equal(kept.size > 40, true)
        equal(packed(listOf(Line("user", "x".repeat(300_000)))).size, 0)
    },
    "on two threads an answer is stopped from the other one" to {
        val main = Executors.newSingleThreadExecutor()
        val model = ChatModel(Executors.newSingleThreadExecutor(), main) { "$it" }
        val (ready, written, done) = List(3) { CountDownLatch(1) }
        model.watcher = {
            if (it is Chat.Ready) ready.countDown()
            if (it is Chat.Writing && it.text.length > 100) written.countDown()
            if (it is Chat.Done) done.countDown()
        }
        main.execute { model.open("m") { FakeAnswerer("word ".repeat(100_000), pause = 1) } }
        equal(ready.await(20, TimeUnit.SECONDS), true)
        main.execute { model.send("One", Settings(maxTokens = 100_000)) }
        equal(written.await(20, TimeUnit.SECONDS), true)
        main.execute(model::stop)
        equal(done.await(20, TimeUnit.SECONDS), true)
        equal((model.state as Chat.Done).answer.stopped, true)
    },
)

/** An opener, its notes, and what it opens. */
class Notebook(val table: Table = Table(), val notes: MutableMap<String, String> = mutableMapOf()) : Notes {
    var opened = 0
    var with: (String) -> Answerer = { Scripted(listOf("a")) }

    override fun get(key: String) = notes[key]

    override fun set(key: String, value: String?) {
        if (value == null) notes -= key else notes[key] = value
    }

    fun opener(needed: Long, free: () -> Long) = Opener(table.model, this, free, { needed }) {
        opened++
        with(it)
    }

    fun open(needed: Long, free: Long, anyway: Boolean = false) {
        opener(needed) { free }.open("m", anyway)
        table.settle()
    }
}
