package edge.core

import java.io.File
import kotlin.system.exitProcess

/**
 * Checks, told one by one where they fail: `golden GOLDEN TOKENIZER`, `vocabularies GOLDEN ASSETS`, `rounded TOLD APP`,
 * `model GOLDEN APP PLACE`. GOLDEN is apps/golden, APP a folder that `edge app` wrote, PLACE one for what is made.
 */
fun main(args: Array<String>) {
    if (args[0] == "bench") return bench(File(args[1]), args[2].toInt(), args[3].toInt(), args[4])
    val checks = Checks()
    val golden = Golden(File(args[1]))
    when (args[0]) {
        "golden" -> {
            checks.json()
            checks.texts(golden, File(args[2]))
            checks.rules(golden)
            checks.core(golden)
            checks.chats(golden, tokenizerOf(File(args[2])))
            checks.hostile(golden)
        }
        "rounded" -> checks.rounded(File(args[1]).inputStream().use { Json.read(it, args[1]) }, File(args[2]))
        "model" -> {
            checks.model(golden, File(args[2]))
            checks.folders(File(args[2]), File(args[3]))
            checks.graphs(File(args[2]), File(args[3]))
            checks.answers(golden, File(args[2]), File(args[3]))
        }
        "vocabularies" -> checks.vocabularies(golden, File(args[2]))
        else -> error("no checks of the name ${args[0]}")
    }
    if (!checks.end()) exitProcess(1)
}
