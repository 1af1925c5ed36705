package edge.core

import java.io.File
import java.io.InputStream

/** Folders that are not whole, or whose app.json lies: each is refused in words, and nothing of it stays. */
internal fun Checks.folders(app: File, place: File) {
    val whole = File(app, ModelFolder.APP).readText()
    described(whole)
    val store = ModelStore(File(place, "models"))
    check("a model is added, found, measured, replaced and deleted") { kept(store, app) }
    check("what the user picked may lie in a folder") { found(store, app) }
    check("a copy that is stopped leaves nothing") { stopped(store, app) }
    check("a damaged copy leaves the good model") { damaged(store, app) }
    check("an app that ended while a model was replaced has the old one") { ended(place, app) }
    check("an app.json that changes while it is read") {
        var reads = 0
        val changing = incoming(app).map { one ->
            if (one.path != "app.json") one else Incoming(one.path, 0) {
                if (reads++ == 0) one.open() else whole.replace("\"bytes\": ", "\"bytes\": 1").byteInputStream()
            }
        }
        refused("changed while it was copied") { store.add("x", changing, {}, { false }) }
    }
    check("a name is only a name") {
        for (name in listOf("../x", "/etc/x", "..", "a/b", "", ".hidden", "x".repeat(300), "a\u0000b", "con\\x")) {
            val stored = store.add(name, incoming(app), {}, { false })
            equal(stored.folder.canonicalFile.parentFile, File(place, "models").canonicalFile, name)
            store.delete(stored.name)
        }
    }
    check("what is not there is told") {
        refused("There is no model of the name ../models") { store.delete("../models") }
        refused("no app.json") { store.add("x", listOf(), {}, { false }) }
        refused("edge.json is missing: choose the whole folder") { store.add("x", incoming(app).filter { !it.path.endsWith("edge.json") }, {}, { false }) }
        refused("is missing. Add the model again.") {
            val stored = store.add("x", incoming(app), {}, { false })
            File(stored.folder, "text/model.onnx").delete()
            store.open(stored, 1)
        }
    }
    check("a damaged file is told before it is opened") {
        for (name in listOf("text/model.onnx", "text/model.onnx.data", "tokenizer.json")) {
            val stored = store.add("x", incoming(app), {}, { false })
            val file = File(stored.folder, name)
            file.writeBytes(flipped(file.readBytes()))
            refused("$name is damaged") { store.open(stored, 1) }
            file.appendText("x")
            refused("$name has ") { store.open(stored, 1) }
        }
    }
}

/** Files of a folder as a picker lists them; [changed]: bytes in place of a file's. */
internal fun incoming(app: File, prefix: String = "", changed: Map<String, ByteArray> = mapOf()): List<Incoming> =
    app.walk().filter(File::isFile).map { file ->
        val name = file.relativeTo(app).path
        Incoming(prefix + name, 0) { changed[name]?.inputStream() ?: file.inputStream() }
    }.toList()

internal fun flipped(bytes: ByteArray) = bytes.copyOf().also { it[it.size / 2] = (it[it.size / 2].toInt() xor 1).toByte() }

private fun Checks.described(whole: String) {
    val json = Json.parse(whole)
    fun wrong(words: String, vararg fields: Pair<String, Any?>) =
        check("app.json $words") { refused(words) { Description(json.changed(*fields)) } }
    fun of(name: String, vararg fields: Pair<String, Any?>) = name to json[name].changed(*fields).value
    fun layer(vararg fields: Pair<String, Any?>) =
        of("decoder", "layers" to listOf(json["decoder"]["layers"].items()[0].changed(*fields).value))
    check("memory is told between the lengths that are told") {
        val it = Description(json)
        val (first, second) = json["memory"].items()
        val (low, high) = first["bytes"].whole(0..Long.MAX_VALUE) to second["bytes"].whole(0..Long.MAX_VALUE)
        equal(listOf(it.memory(1), it.memory(512), it.memory(768), it.memory(1024)), listOf(low, low, (low + high) / 2, high))
        equal(it.memory(1 shl 30), json["memory"].items().last()["bytes"].value)
    }
    wrong("schema 2", "schema" to 2)
    wrong("schema is no whole number", "schema" to "1")
    wrong("modules is no object", "modules" to null)
    wrong("modules.text is no object", "modules" to mapOf<String, Any>())
    wrong("a model for coreml", "modules" to mapOf("text" to mapOf("target" to "coreml")))
    wrong("decoder.layers is empty", of("decoder", "layers" to listOf<Any>()))
    wrong("decoder.layers has 2000 items", of("decoder", "layers" to List(2000) { 1 }))
    wrong("kv_heads is no whole number of 1..16777216", layer("kv_heads" to 1e12))
    wrong("which 4 kv heads cannot share", layer("kv_heads" to 4))
    wrong("head_width is no whole number", layer("head_width" to 0))
    wrong("scale is no number", layer("scale" to null))
    wrong("context is no whole number", of("decoder", "context" to (1L shl 40)))
    wrong("stop[0] is no whole number", "stop" to listOf("x"))
    wrong("bos is no whole number", "bos" to -1)
    wrong("tokenizer has no hash", of("tokenizer", "sha256" to "x"))
    wrong("tokenizer.bytes is no whole number", of("tokenizer", "bytes" to -1))
    wrong("memory does not rise", "memory" to listOf<Any>())
    wrong("is no penalty", of("sampling", "repetition_penalty" to 0))
    wrong("names app.json twice", of("tokenizer", "name" to "app.json"))
    wrong("names text/model.onnx twice", of("tokenizer", "name" to "text/model.onnx"))
    wrong("names text twice", of("tokenizer", "name" to "text"))
    for (bad in listOf("../x", "/etc/passwd", "a/../b", "a//b", "", "C:\\x", "a/./b", ".x", "a/", "x\u0000", "x\ny", "é", "a".repeat(201))) {
        wrong("is no name of a file", of("tokenizer", "name" to bad))
    }
}

private fun kept(store: ModelStore, app: File) {
    equal(store.list().size, 0)
    val shares = mutableListOf<Double>()
    val stored = store.add("My stories", incoming(app), shares::add) { false }
    equal(shares.last(), 1.0)
    equal(shares, shares.sorted())
    equal(store.list().map { it.name }, listOf("My stories"))
    equal(stored.bytes, app.walk().filter(File::isFile).sumOf(File::length))
    if (store.needed(stored) <= store.needed(stored, 1)) throw AssertionError("a longer context takes more")
    store.add("My stories", incoming(app), {}, { false })
    equal(store.list().map { it.name }, listOf("My stories"))
    store.delete("My stories")
    equal(store.list().size, 0)
}

private fun found(store: ModelStore, app: File) {
    val picked = incoming(app, "Download/stories-app/") + incoming(app, "Download/older/stories-app/") + Incoming("x", 1) { error("not read") }
    store.add("Download", picked, {}, { false })
    store.delete("Download")
}

private fun stopped(store: ModelStore, app: File) {
    var asked = 0
    refused("was stopped") { store.add("x", incoming(app), {}, { asked++ == 8 }) }
    equal(store.list().size, 0)
}

private fun damaged(store: ModelStore, app: File) {
    val good = store.add("x", incoming(app), {}, { false })
    val name = "text/model.onnx.data"
    val data = File(app, name).readBytes()
    for ((words, bytes) in listOf("is damaged" to flipped(data), "bytes fewer than" to data.copyOf(9), "has more than" to data + 1)) {
        refused("$name ") { refused(words) { store.add("x", incoming(app, changed = mapOf(name to bytes)), {}, { false }) }; throw EdgeException("$name ") }
        ModelFolder(good.folder).check()
        equal(store.list().map { it.name }, listOf("x"))
    }
    val endless = incoming(app).map { one ->
        if (one.path != name) one else Incoming(name, 1) { object : InputStream() {
            override fun read() = 7
            override fun read(out: ByteArray, at: Int, count: Int) = count
        } }
    }
    refused("has more than ") { store.add("x", endless, {}, { false }) }
    store.delete("x")
}

private fun ended(place: File, app: File) {
    val root = File(place, "ended")
    ModelStore(root).add("x", incoming(app), {}, { false })
    File(root, "x").renameTo(File(root, ".old.x"))
    File(root, ".new").mkdirs()
    equal(ModelStore(root).list().map { it.name }, listOf("x"))
    File(root, "x").copyRecursively(File(root, ".old.x"))
    equal(ModelStore(root).list().map { it.name }, listOf("x"))
    equal(root.list()!!.toList(), listOf("x"))
}
