package edge.core

import java.io.File
import java.util.Random

/**
 * A model that answers. What it read of a conversation stays in its cache, so that the next turn reads only what is new;
 * another graph is opened, and the one before closed, where SnapKV is asked for or no more.
 */
internal class OpenModel(private val folder: ModelFolder, private val threads: Int) : Answerer {
    private val about = folder.apply { check() }.description
    private val tokenizer = folder.tokenizer().also {
        val vocab = about.sizes.vocab
        if (it.size > vocab) throw EdgeException("tokenizer.json has ${it.size} ids, and the model $vocab. ${ModelFolder.AGAIN}")
    }
    private var closed = false
    private var cuts = false
    private var decoder: Decoder? = decoder(cuts)
    private var cached = listOf<Int>() // ids that the decoder has read

    override fun answer(messages: List<Message>, settings: Settings, stopped: () -> Boolean, piece: (String) -> Unit): Answer {
        val ids = ids(messages)
        val decoder = ready(settings.snapkv)
        decoder.rewind(minOf(shared(cached, ids), decoder.length))
        val start = decoder.length // less than is shared where rows of it were forgotten
        val text = StringBuilder()
        val wish = wish(settings, ids.copyOf(start), stopped)
        try {
            val made = generate(decoder, ids.copyOfRange(start, ids.size), tokenizer.stream(), wish) {
                text.append(it)
                piece(it)
            }
            cached = (ids.toList() + made.tokens).take(decoder.length)
            val ended = made.ending == Ending.CANCELLED
            return Answer(text.toString(), made.tokens.size, made.firstSeconds, made.tokensPerSecond, ended)
        } catch (problem: Throwable) {
            decoder.rewind(0)
            cached = listOf()
            throw problem
        }
    }

    override fun close() {
        closed = true
        shut()
    }

    private fun shut() {
        decoder?.close()
        decoder = null
        cached = listOf()
    }

    /** Ids of a conversation that asks for an answer: one BOS where the model wants one. */
    internal fun ids(messages: List<Message>): IntArray {
        val last = messages.lastOrNull() ?: throw EdgeException("There is no message to answer.")
        val ids = tokenizer.encode(about.chat?.rendered(messages) ?: last.text)
        val bos = about.bos
        return if (bos == null || ids.firstOrNull() == bos) ids else intArrayOf(bos) + ids
    }

    private fun wish(settings: Settings, seen: IntArray, stopped: () -> Boolean): Wish {
        val random = Random(settings.seed)
        val asked = settings.temperature
        if (asked != null && !(asked in 0.0..100.0)) throw EdgeException("The temperature is $asked: choose 0 or more.")
        val sampling = if (asked == null) about.sampling else about.sampling.copy(temperature = asked)
        return Wish(
            about.stop, sampling = sampling, most = settings.maxTokens, seen = seen,
            random = random::nextDouble, stopped = stopped,
        )
    }

    private fun ready(snapkv: Boolean): Decoder {
        check(!closed) { "the model is closed" }
        if (snapkv != cuts) shut() // first: there is rarely memory for two
        cuts = snapkv
        return decoder ?: decoder(snapkv).also { decoder = it }
    }

    private fun decoder(snapkv: Boolean): Decoder {
        if (!snapkv) return OnnxDecoder(graph("model.onnx"), about.sizes, threads)
        if (about.sizes.rotary == null) throw EdgeException("This model's attention does not see every row: turn SnapKV off.")
        return Compacting(OnnxDecoder(graph("flexible.onnx"), about.sizes, threads))
    }

    private fun graph(name: String): File {
        val place = "text/$name"
        if (about.files.none { it.name == place }) throw EdgeException("This model has no $name: convert it to onnx again.")
        return File(folder.folder, place)
    }
}
