import EdgeKit
import Foundation

extension Checks {
    /// An app.json that lies is refused in words.
    func descriptions(_ app: URL) throws {
        let plain = try json(app.appendingPathComponent("app.json"))
        func wrong(_ words: String, _ fields: (String, Value)...) {
            check("app.json \(words)") { try refused(words) { _ = try Description(plain.changed(fields)) } }
        }
        func of(_ name: String, _ fields: (String, Value)...) throws -> (String, Value) { (name, try plain[name].value.changed(fields)) }
        func layer(_ fields: (String, Value)...) throws -> (String, Value) {
            try of("decoder", ("layers", [try plain["decoder"]["layers"].items()[0].value.changed(fields)]))
        }
        check("memory is told between the lengths that are told") {
            let it = try Description(plain)
            let told = try plain["memory"].items().map { try $0["bytes"].whole(0...Int.max) }
            try equal([1, 512, 768, 1024].map { it.memory($0) }, [told[0], told[0], (told[0] + told[1]) / 2, told[1]])
            try equal(it.memory(1 << 30), told.last)
        }
        check("a test of a device that lies is refused") {
            let sizes = try Description(plain).sizes
            let numbers = Value.text(String(repeating: "A", count: 2 * 2 * 256 / 3 / 4 * 4))
            let row: Value = ["row": 5, "keys": numbers, "values": numbers]
            let one: Value = ["start": 5, "ids": [1, 2], "tokens": [3], "sure": [true], "rows": [row]]
            func refuses(_ words: String, _ cases: Value) throws {
                try refused(words) { _ = try SelfTest(Json(["cases": cases], "selftest.json"), sizes) }
            }
            try refuses("cases is no list", nil)
            try refuses("cases does not rise", [])
            try refuses("keys is not 256 numbers", [one])
            try refuses("keys is not 256 numbers", [one.changed([("rows", [row.changed([("keys", "!")])])])])
            try refuses("rows[0].row is no whole number of 5..7", [one.changed([("rows", [row.changed([("row", 8)])])])])
            try refuses("ids[0] is no whole number", [one.changed([("ids", [1408])])])
            try refuses("sure is not of 1 tokens", [one.changed([("sure", [])])])
            try refuses("cases[0] does not fit the context of 2048", [one.changed([("start", 2046)])])
            try refuses("cases[0] does not fit", [one.changed([("ids", [])])])
            try refuses("cases does not rise", [one.changed([("rows", [])]), one.changed([("rows", [])])])
        }
        wrong("schema 2", ("schema", 2))
        wrong("schema is no whole number", ("schema", "1"))
        wrong("modules is no object", ("modules", nil))
        wrong("modules.text is no object", ("modules", [:]))
        check("a model for something else is refused") {
            let other = try Description(plain.changed([("modules", ["text": ["target": "onnx", "files": []]])]))
            try refused("a model for onnx, and this app runs models for coreml and mlx.") { try other.need(["coreml", "mlx"]) }
        }
        wrong("decoder.layers is empty", try of("decoder", ("layers", [])))
        wrong("decoder.layers has 2000 items", try of("decoder", ("layers", .list(Array(repeating: 1, count: 2000)))))
        wrong("kv_heads is no whole number of 1..16777216", try layer(("kv_heads", 1e12)))
        wrong("which 4 kv heads cannot share", try layer(("kv_heads", 4)))
        wrong("head_width is no whole number", try layer(("head_width", 0)))
        wrong("scale is no number", try layer(("scale", nil)))
        wrong("context is no whole number", try of("decoder", ("context", 1_099_511_627_776)))
        wrong("stop[0] is no whole number", ("stop", ["x"]))
        wrong("bos is no whole number", ("bos", -1))
        wrong("tokenizer has no hash", try of("tokenizer", ("sha256", "x")))
        wrong("selftest.name is no text", ("selftest", [:]))
        wrong("tokenizer.bytes is no whole number", try of("tokenizer", ("bytes", -1)))
        wrong("memory does not rise", ("memory", []))
        wrong("is no penalty", try of("sampling", ("repetition_penalty", 0)))
        wrong("names app.json twice", try of("tokenizer", ("name", "app.json")))
        wrong("names text/config.json twice", try of("tokenizer", ("name", "text/config.json")))
        wrong("names text/config.json twice", try of("tokenizer", ("name", "Text/Config.json")))
        wrong("names text twice", try of("tokenizer", ("name", "text")))
        for bad in [
            "../x", "/etc/passwd", "a/../b", "a//b", "", "C:\\x", "a/./b", ".x", "a/", "x\0", "x\ny", "é",
            String(repeating: "a", count: 201),
        ] { wrong("is no name of a file", try of("tokenizer", ("name", .text(bad)))) }
    }

    /// A model of a folder that answers by a decoder of these checks: how a conversation uses the cache.
    func opened(_ app: URL) throws {
        var (made, ways): ([Told], [Way]) = ([], [])
        let ids = [700, 701, 702]
        func open() throws -> OpenModel {
            try OpenModel(ModelFolder(app)) { way in
                ways.append(way)
                made.append(Told(ids, capacity: 2048, vocab: 1408))
                return made[made.count - 1]
            }
        }
        let talk = [Message("user", "Tell me a story about Marla.")]
        let few = AnswerSettings(temperature: 0, maxTokens: 3)
        check("a conversation goes on where it was") {
            let model = try open()
            let first = try model.answer(talk, few, stopped: { false }) { _ in }
            try equal(first.tokens, 3)
            let next = talk + [Message("assistant", first.text), Message("user", "More.")]
            _ = try model.answer(next, few, stopped: { false }) { _ in }
            try equal(made[0].asked.first, "rewind 0")
            try equal(made[0].asked[2], "rewind \(shared(model.ids(talk) + ids.prefix(2), model.ids(next)))")
            try equal(ways, [.plain])
            var other = few
            other.snapkv = true
            _ = try model.answer(talk, other, stopped: { false }) { _ in }
            try equal(ways, [.plain, .snapkv])
            other.drafts = true
            try refused("turn SnapKV or drafts off") { _ = try model.answer(talk, other, stopped: { false }) { _ in } }
            other.snapkv = false
            _ = try model.answer(talk, other, stopped: { false }) { _ in }
            try equal(ways, [.plain, .snapkv, .drafts])
        }
        check("what cannot be answered is told, and the model goes on") {
            let model = try open()
            let long = Message("user", String(repeating: "kite ", count: 3000))
            try refused("reads at most 2048") { _ = try model.answer([long], few, stopped: { false }) { _ in } }
            try refused("no messages of the role tool") { _ = try model.answer([Message("tool", "x")], few, stopped: { false }) { _ in } }
            try refused("no message to answer") { _ = try model.answer([], few, stopped: { false }) { _ in } }
            for wrong in [-1, Double.nan] {
                try refused("choose 0 or more") { _ = try model.answer(talk, AnswerSettings(temperature: wrong), stopped: { false }) { _ in } }
            }
            var asked = 0
            let stopped = try model.answer(talk, AnswerSettings(temperature: 0), stopped: { asked += 1; return asked == 6 }) { _ in }
            try equal([stopped.tokens, stopped.stopped ? 1 : 0], [5, 1])
        }
        check("a seed draws the same, another one another") {
            let model = try open()
            let drawn = try [1, 1, 2].map { seed in
                try model.answer(talk, AnswerSettings(temperature: 9, maxTokens: 30, seed: seed), stopped: { false }) { _ in }.text
            }
            try equal(drawn[0], drawn[1])
            if drawn[0] == drawn[2] { throw Wrong(description: "two seeds say \(drawn[0])") }
        }
    }
}
