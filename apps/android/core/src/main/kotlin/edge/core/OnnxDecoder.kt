package edge.core

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import java.io.File

/**
 * A decoder over ONNX Runtime, on a graph of an artifact: "model.onnx", or "flexible.onnx", which also gives each layer's
 * queries. L layers, H query heads, G kv heads, W head width, S rows, T tokens, V vocabulary.
 *
 * The same memory goes in as past and comes out as present, with room for more rows than are in use: a step copies nothing.
 */
internal class OnnxDecoder(file: File, override val sizes: Sizes, threads: Int) : Evictable {
    private val environment = OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
    private val session = opened(file, threads)
    private val fed = OnnxFed(environment, session.inputNames, sizes)
    private val cache: OnnxCache
    private val logits = floats(sizes.vocab)
    private val last = OnnxTensor.createTensor(environment, logits, longArrayOf(1, 1, sizes.vocab.toLong()))
    private val pinned = HashMap<String, OnnxTensor>() // the outputs that go where they are wanted
    private val everyRow: Boolean // whether logits of all tokens come out

    override val capacity = sizes.context
    override var length = 0
        private set
    override val rows get() = cache.rows

    init {
        try {
            everyRow = OnnxNames(session, file.name, sizes).everyRow
            pinned[LOGITS] = last
            cache = OnnxCache(environment, sizes) { pasts, presents ->
                fed.feeds.putAll(pasts)
                pinned.putAll(presents)
            }
        } catch (problem: Exception) {
            session.close()
            throw problem
        }
    }

    override fun prefill(ids: IntArray, stopped: () -> Boolean): FloatArray? {
        cache.reserve(ids.size + ANSWER) // so that the first step is not the one that grows it
        for (start in ids.indices step CHUNK) {
            if (start > 0 && stopped()) return null
            run(ids.copyOfRange(start, minOf(start + CHUNK, ids.size)))
        }
        return told()
    }

    override fun step(id: Int): FloatArray {
        run(intArrayOf(id))
        return told()
    }

    /** Forget tokens: their rows are written over. */
    override fun rewind(length: Int) {
        if (length == this.length) return
        cache.rows = if (length == 0) 0 else cache.rows - (this.length - length)
        this.length = length
    }

    override fun observe(ids: IntArray): Pair<FloatArray, List<Array<FloatArray>>> {
        if (sizes.rotary == null || "queries.0" !in session.outputNames) {
            throw EdgeException("This model's cache cannot be cut: turn SnapKV off.")
        }
        val start = length
        var votes = listOf<Array<FloatArray>>()
        run(ids, sizes.layers.indices.mapTo(HashSet()) { "queries.$it" }) { out ->
            votes = sizes.layers.mapIndexed { at, layer ->
                val of = Attention(ids.size, layer, cache.rows + ids.size)
                val packed = (out.get("queries.$at").get() as OnnxTensor).values()
                votes(queries(packed, of, start), cache.keys(at, of.rows), of)
            }
        }
        return told() to votes
    }

    override fun cut(kept: List<Array<IntArray>>) = cache.keep(kept, ANSWER)

    override fun close() {
        listOf(fed, cache, last, session).forEach(AutoCloseable::close)
    }

    private fun told() = FloatArray(sizes.vocab).also { logits.rewind(); logits.get(it) }

    /** Append ids of one call; the logits of the last lie in [logits] then. [more]: other outputs, for [use]. */
    private fun run(ids: IntArray, more: Set<String> = setOf(), use: (OrtSession.Result) -> Unit = {}) {
        check(length + ids.size <= capacity) { "${ids.size} tokens after $length of $capacity" }
        cache.reserve(ids.size)
        fed.set(ids, length, cache.rows)
        val every = everyRow && ids.size > 1
        try {
            session.run(fed.feeds, if (every) more + LOGITS else more, if (every) cache.presents else pinned).use { out ->
                if (every) keepLast(out.get(LOGITS).get() as OnnxTensor)
                use(out)
            }
        } catch (problem: OrtException) {
            throw EdgeException("ONNX Runtime fails on this model: ${reason(problem)}")
        }
        cache.rows += ids.size
        length += ids.size
    }

    private fun keepLast(all: OnnxTensor) {
        val rows = all.values()
        logits.rewind()
        logits.put(rows, rows.size - sizes.vocab, sizes.vocab)
    }

    /** Queries alone, rotated, of rows that also hold keys and values where attention itself rotates them. */
    private fun queries(packed: FloatArray, of: Attention, start: Int): FloatArray {
        val width = of.layer.heads * of.layer.width
        val row = packed.size / of.tokens
        val out = FloatArray(of.tokens * width)
        for (t in 0 until of.tokens) packed.copyInto(out, t * width, t * row, t * row + width)
        return if (row > width) rotated(out, of, start, sizes.rotary!!) else out
    }

    private fun opened(file: File, threads: Int): OrtSession = try {
        OrtSession.SessionOptions().use {
            it.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL) // what it logs as an error, it also throws
            it.setMemoryPatternOptimization(false) // every step has a new shape: no pattern is used twice
            it.setIntraOpNumThreads(threads)
            environment.createSession(file.path, it)
        }
    } catch (problem: OrtException) {
        throw EdgeException("ONNX Runtime cannot open ${file.name}: ${reason(problem)}")
    }

    companion object {
        const val CHUNK = 512 // tokens of a prompt at a time: bounds the memory of activations
        private const val LOGITS = "logits"
        private const val ANSWER = 256 // rows kept free after a prompt
    }
}

internal fun reason(problem: OrtException) = problem.message.orEmpty().lineSequence().first().take(200)
