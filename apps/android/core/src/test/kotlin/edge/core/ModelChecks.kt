package edge.core

import java.io.File
import kotlin.math.abs

/** With a folder that `edge app` wrote from the packaged model: what edge answers, token for token. */
internal fun Checks.model(golden: Golden, app: File) {
    val folder = ModelFolder(app)
    val tokenizer = folder.tokenizer()
    check("all of the folder is whole") { folder.check() }
    for (graph in listOf("model.onnx", "exact.onnx", "flexible.onnx")) {
        OnnxDecoder(File(app, "text/$graph"), folder.description.sizes, 2).use { decoder ->
            for (case in golden.of("answers").items()) check("$graph ${case["prompt"].text()}") { answers(case, decoder, folder, tokenizer) }
        }
    }
    for ((at, case) in golden.of("compacted").items().withIndex()) check("compacted $at") { compacted(case, folder, tokenizer) }
    check("what is forgotten is read anew") { forgotten(golden, folder) }
    check("a cache that grows holds what it held") { grown(golden, folder) }
}

/** What edge itself answers with an artifact of rounded weights: `told` has prompt ids and tokens by graph. */
internal fun Checks.rounded(told: Json, app: File) {
    val folder = ModelFolder(app)
    for (case in told.items()) {
        val graph = case["graph"].text()
        check("${folder.description.name} $graph") {
            OnnxDecoder(File(app, "text/$graph"), folder.description.sizes, 2).use { decoder ->
                val made = generated(decoder, case["ids"].ids(), folder, folder.tokenizer(), case["most"].int(1..9999))
                equal(made.tokens, case["tokens"].ids())
            }
        }
    }
}

private fun answers(case: Json, decoder: Decoder, folder: ModelFolder, tokenizer: Tokenizer) {
    equal(tokenizer.encode(folder.description.chat!!.rendered(listOf(Message("user", case["prompt"].text())))).toList(), case["ids"].ids())
    decoder.rewind(0)
    val pieces = mutableListOf<String>()
    val made = generated(decoder, case["ids"].ids(), folder, tokenizer, 48, pieces)
    equal(made.tokens, case["tokens"].ids())
    equal(made.ending.name.lowercase(), case["ending"].text())
    equal(pieces, case["pieces"].texts().filter { it.isNotEmpty() })
}

private fun compacted(case: Json, folder: ModelFolder, tokenizer: Tokenizer) {
    val options = SnapKv(case["capacity"].int(1..999), case["window"].int(1..999), case["kernel"].int(1..999), case["sinks"].int(0..999))
    val inner = OnnxDecoder(File(folder.folder, "text/flexible.onnx"), folder.description.sizes, 2)
    Compacting(inner, options).use { decoder ->
        equal(generated(decoder, case["ids"].ids(), folder, tokenizer, 32).tokens, case["tokens"].ids())
        equal(inner.rows, case["rows"].ids()[0], "rows")
        decoder.rewind(5)
        equal(decoder.length, 0, "what was forgotten is read anew")
    }
}

private fun forgotten(golden: Golden, folder: ModelFolder) {
    val ids = golden.of("answers").items()[0]["ids"].ids().toIntArray()
    val again = read(folder) {
        it.prefill(ids + intArrayOf(5, 6, 7))
        it.rewind(ids.size - 1)
        it.prefill(intArrayOf(ids.last()))!!
    }
    alike(again, read(folder) { it.prefill(ids)!! })
}

/** Past the first room of 512 rows, and in pieces of a prompt, logits are those of one that was read in one go. */
private fun grown(golden: Golden, folder: ModelFolder) {
    val some = golden.of("compacted").items()[0]["ids"].ids()
    val ids = generateSequence { some }.flatten().take(1300).toList().toIntArray()
    val slowly = read(folder) { decoder ->
        var last = decoder.prefill(ids.copyOf(400))!!
        for (at in 400 until ids.size) last = decoder.step(ids[at])
        last
    }
    alike(slowly, read(folder) { it.prefill(ids)!! })
}

private fun read(folder: ModelFolder, how: (Decoder) -> FloatArray) =
    OnnxDecoder(File(folder.folder, "text/model.onnx"), folder.description.sizes, 2).use(how)

private fun alike(found: FloatArray, wanted: FloatArray) {
    val far = wanted.indices.maxOf { abs(found[it] - wanted[it]) }
    if (far > 1e-3) throw AssertionError("logits differ by $far")
}

internal fun generated(
    decoder: Decoder,
    ids: List<Int>,
    folder: ModelFolder,
    tokenizer: Tokenizer,
    most: Int,
    pieces: MutableList<String> = mutableListOf(),
): Generated = generate(decoder, ids.toIntArray(), tokenizer.stream(), Wish(folder.description.stop, most = most)) { pieces.add(it) }
