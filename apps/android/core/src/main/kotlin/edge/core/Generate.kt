package edge.core

/** Why an answer ended. */
internal enum class Ending { STOP, LENGTH, CONTEXT, CANCELLED }

/** What [generate] made: tokens, why there are no more, seconds to the first, and tokens a second of the others. */
internal class Generated(
    val tokens: List<Int>,
    val ending: Ending,
    val firstSeconds: Double,
    val tokensPerSecond: Double,
)

/** How to answer. [stop]: ids that end it and are not given out; [seen]: tokens before the prompt, for the penalty. */
internal class Wish(
    val stop: Set<Int>,
    val stops: List<String> = listOf(),
    val sampling: Sampling = Sampling(),
    val most: Int = 512,
    val seen: IntArray = IntArray(0),
    val random: () -> Double = { 0.0 },
    val stopped: () -> Boolean = { false },
)

/** Feed ids after what the decoder holds, and choose tokens; their text is given in pieces, as soon as it is certain. */
internal fun generate(decoder: Decoder, ids: IntArray, stream: Stream, wish: Wish, piece: (String) -> Unit): Generated {
    val room = decoder.capacity - decoder.length
    if (ids.isEmpty()) throw EdgeException("There is nothing to answer: the text has no tokens.")
    if (ids.size > room) {
        val (all, most) = decoder.length + ids.size to decoder.capacity
        throw EdgeException(
            "The conversation has $all tokens, and this model reads at most $most: begin a new one, or shorten the text.",
        )
    }
    val filter = StopStrings(wish.stops)
    val history = (wish.seen + ids).toMutableList()
    val tokens = mutableListOf<Int>()
    val show = { text: String -> if (text.isNotEmpty()) piece(text) }
    var first = 0L
    var spent = 0L // until each later token is chosen: what the caller does with a piece does not count
    var steps = 0
    var ending = Ending.CANCELLED
    var since = System.nanoTime()
    var logits = decoder.prefill(ids, wish.stopped)
    while (logits != null && !wish.stopped()) {
        val id = pick(logits, wish.sampling, history, wish.random)
        val took = System.nanoTime() - since
        if (steps == 0) first = took else spent += took
        if (id in wish.stop) {
            ending = Ending.STOP
            break
        }
        tokens.add(id)
        history.add(id)
        show(filter.feed(stream.feed(id)))
        ending = when {
            filter.met -> Ending.STOP
            tokens.size >= wish.most -> Ending.LENGTH
            decoder.length >= decoder.capacity -> Ending.CONTEXT
            else -> Ending.CANCELLED
        }
        if (ending != Ending.CANCELLED) break
        since = System.nanoTime()
        steps++
        logits = decoder.step(id)
    }
    if (!filter.met) {
        show(filter.feed(stream.finish()))
        if (filter.met) ending = Ending.STOP else show(filter.finish())
    }
    return Generated(tokens, ending, first / NANO, if (spent > 0) steps / (spent / NANO) else 0.0)
}

/** How many cached ids to keep of those that are wanted now: at least one is left to feed. */
internal fun shared(cached: List<Int>, wanted: IntArray): Int {
    var same = 0
    while (same < cached.size && same < wanted.size - 1 && cached[same] == wanted[same]) same++
    return same
}

private const val NANO = 1e9
