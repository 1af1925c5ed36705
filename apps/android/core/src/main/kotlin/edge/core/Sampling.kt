package edge.core

import kotlin.math.exp

/**
 * How the next token is chosen from the logits: the likeliest where [temperature] is 0, else drawn from a trimmed
 * distribution. The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
 */
internal data class Sampling(
    val temperature: Double = 0.0,
    val topK: Int? = null,
    val topP: Double? = null,
    val minP: Double? = null,
    val penalty: Double = 1.0, // of a repetition
) {
    companion object {
        fun of(json: Json) = Sampling(
            temperature = json["temperature"].number().coerceIn(0.0, 100.0),
            topK = json["top_k"].orNull()?.int(1..Int.MAX_VALUE),
            topP = json["top_p"].orNull()?.number(),
            minP = json["min_p"].orNull()?.number(),
            penalty = json["repetition_penalty"].number().also {
                if (it <= 0 || it > 100) json["repetition_penalty"].wrong("is no penalty")
            },
        )
    }
}

/** One token for logits [V]; [history]: tokens that the penalty counts; [random]: a number from 0 to 1, without 1. */
internal fun pick(logits: FloatArray, sampling: Sampling, history: List<Int>, random: () -> Double): Int {
    val seen = penalized(logits, sampling.penalty, history)
    val best = likeliest(seen)
    if (sampling.temperature == 0.0) return best
    val choice = Choice.of(seen, sampling, best)
    var left = random() * choice.weights.sum()
    for (at in choice.tokens.indices) {
        left -= choice.weights[at]
        if (left < 0) return choice.tokens[at]
    }
    return choice.tokens.last() // a draw may round up to the total itself
}

/** Tokens that may be drawn, in rising order, and their weights: the likeliest weighs one. */
private class Choice(val tokens: IntArray, val weights: DoubleArray) {
    fun keep(wanted: (Int) -> Boolean): Choice {
        val places = tokens.indices.filter(wanted)
        return Choice(IntArray(places.size) { tokens[places[it]] }, DoubleArray(places.size) { weights[places[it]] })
    }

    fun atLeast(weight: Double) = keep { weights[it] >= weight }

    /** The fewest heaviest that make up [share] of all. */
    fun nucleus(share: Double): Choice {
        val sorted = weights.copyOf().also { it.sort() }
        val enough = share * weights.sum()
        var at = sorted.size
        var sum = 0.0
        while (at > 0 && sum < enough) sum += sorted[--at]
        val least = sorted[at.coerceAtMost(sorted.lastIndex)]
        var alike = sorted.size - at - weights.count { it > least } // of those that weigh as little as the last: the first
        if (at == sorted.size) alike = 1 // at least one stays
        return keep { weights[it] > least || (weights[it] == least && alike-- > 0) }
    }

    companion object {
        fun of(logits: FloatArray, sampling: Sampling, best: Int): Choice {
            val least = sampling.topK?.takeIf { it < logits.size }?.let { logits.copyOf().apply { sort() }[logits.size - it] }
            val all = IntArray(logits.size) { it }
            // Equals of the last one stay, too.
            val tokens = if (least == null) all else all.filter { logits[it] >= least }.toIntArray()
            // The highest goes first: divided by a small temperature, logits overflow.
            val weights = DoubleArray(tokens.size) {
                exp((logits[tokens[it]].toDouble() - logits[best]) / sampling.temperature)
            }
            var choice = Choice(tokens, weights)
            if (sampling.topP != null && sampling.topP < 1) choice = choice.nucleus(sampling.topP)
            if (sampling.minP != null) choice = choice.atLeast(sampling.minP)
            return if (choice.tokens.isEmpty()) Choice(intArrayOf(best), doubleArrayOf(1.0)) else choice
        }
    }
}

private fun penalized(logits: FloatArray, penalty: Double, history: List<Int>): FloatArray {
    if (penalty == 1.0 || history.isEmpty()) return logits
    val out = logits.copyOf()
    for (token in history.toSet()) out[token] *= (if (out[token] < 0) penalty else 1 / penalty).toFloat()
    return out
}

/** The first of the highest; refuses numbers that are none. */
private fun likeliest(logits: FloatArray): Int {
    var best = 0
    for (at in 1 until logits.size) {
        if (logits[best].isNaN()) break
        if (logits[at] > logits[best] || logits[at].isNaN()) best = at
    }
    if (!logits[best].isFinite()) {
        throw EdgeException("The highest of ${logits.size} logits is ${logits[best]}: the model's numbers are broken.")
    }
    return best
}
