package edge.app

import java.util.concurrent.Executor
import java.util.concurrent.atomic.AtomicBoolean

/** Runs one job at a time on the thread of [work]; what comes of it is told on the thread of [main], which asks for it. */
class OneAtATime(private val work: Executor, private val main: Executor) {
    private var running: Job? = null
    val busy get() = running != null

    inner class Job(val writes: Boolean) {
        private val stop = AtomicBoolean()
        val stopped get() = stop.get()

        fun stop() = stop.set(true)

        /** From the other thread: do something on the one of [main], as long as this runs. */
        fun tell(what: () -> Unit) = main.execute { if (running === this) what() }

        /** An OutOfMemoryError is a failure like another one: a user is told of it. */
        fun <T> run(what: () -> T, failed: (Throwable) -> Unit, then: (T) -> Unit) = work.execute {
            val made = runCatching(what)
            main.execute {
                running = null
                made.fold(then, failed)
            }
        }
    }

    /** A new job, or null where one runs. */
    fun job(writes: Boolean = false): Job? = if (busy) null else Job(writes).also { running = it }

    /** Do something after what runs. */
    fun after(what: () -> Unit) = work.execute(what)

    /** Ask the job that runs to stop. */
    fun stop(onlyWriting: Boolean = false) {
        running?.let { if (it.writes || !onlyWriting) it.stop() }
    }
}
