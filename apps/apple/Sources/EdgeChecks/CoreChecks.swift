import EdgeKit
import Foundation

extension Checks {
    /// What needs no model: draws, rows that stay, streamed text, stop strings, and the loop over a decoder.
    func core(_ golden: Golden) throws {
        for (at, item) in try golden.of("picks").items().enumerated() {
            check("draws \(at)") {
                let (logits, sampling) = (try item["logits"].floats(), try Sampling(item["sampling"]))
                let history = try item["history"].ids()
                let found = try item["draws"].items().map { draw in
                    let draw = try draw.number()
                    return try pick(logits, sampling, history) { draw }
                }
                try equal(found, item["tokens"].ids(), "\(sampling)")
            }
        }
        check("of tokens that weigh alike the first are drawn") {
            let sampling = Sampling(temperature: 1, topP: 0.51)
            try equal([0, 0.34, 0.67, 0.99].map { draw in try pick([1, 1, 1, 1], sampling, []) { draw } }, [0, 1, 2, 2])
        }
        check("numbers that are none are refused") {
            for wrong: [Float] in [[1, .nan, 2], [1, .infinity], [-.infinity, -.infinity], []] {
                try refused("numbers are broken") { _ = try pick(wrong, Sampling(), []) { 0 } }
            }
        }
        for (at, item) in try golden.of("snapkv").items().enumerated() { check("rows \(at)") { try rows(item) } }
        for (at, item) in try golden.of("streams").items().enumerated() {
            check("stream \(at)") {
                let pieces = try item["pieces"].texts()
                var stream = try TextStream(pieces: pieces, item["decoder"], inside: item["inside"].flag())
                try exactly(pieces.indices.map { stream.feed($0) } + [stream.finish()], item["shown"].texts())
            }
        }
        check("scalars that join those before them are shown once") {
            let pieces = ["\u{1f3f3}", "\u{fe0f}", "\u{200d}", "\u{1f308}", "e", "\u{301}", "x"]
            var stream = try TextStream(pieces: pieces, Json.parse(#"{"type":"Fuse"}"#))
            try exactly(pieces.indices.map { stream.feed($0) } + [stream.finish()], pieces + [""])
            try exactly([stream.feed(700)], [""]) // of a vocabulary that is padded
        }
        for wrong in ["null", #"{"type":"WordPiece"}"#, #"{"type":"Sequence","decoders":[{"type":"BPEDecoder"}]}"#] {
            check("decoder \(wrong)") {
                let decoder = try Json.parse("{\"decoder\":\(wrong)}")["decoder"]
                try refused("cannot show piece by piece") { _ = try TextStream(pieces: [], decoder) }
            }
        }
        for (at, item) in try golden.of("stops").items().enumerated() { check("stops \(at)") { try stops(item) } }
        check("a stop string that is empty") { try refused("is empty") { _ = try StopStrings([""]) } }
        check("a stop string within one letter of the screen") {
            var stops = try StopStrings(["e"])
            try exactly([stops.feed("xe\u{301}")], ["x"])
        }
        check("blanks are those of Python") { try exactly([trimmed("\u{1c}\u{85}\u{3000} a\u{feff} \u{1f}")], ["a\u{feff}"]) }
        check("a date is today's", date)
        check("an answer ends as it should", endings)
        check("a cache is cut after long prompts alone", compacting)
        check("drafts change no answer", drafting)
        check("what is cached is not read again, but for one id") {
            try equal([shared([1, 2, 3], [1, 2, 4]), shared([1, 2, 3], [1, 2, 3])], [2, 2])
            try equal([shared([], [1]), shared([1, 2, 3], [1, 2, 3, 4])], [0, 3])
        }
    }
}

private func rows(_ item: Json) throws {
    let options = try item["options"]
    func number(_ json: Json) throws -> Int { try json.whole(0...99) }
    let snapkv = SnapKv(
        capacity: try number(options["capacity"]), window: try number(options["window"]), kernel: try number(options["kernel"]),
        sinks: try number(options["sinks"]))
    let layer = Layer(
        heads: try number(item["heads"]), kvHeads: try number(item["kv_heads"]), width: try number(item["width"]),
        scale: try item["scale"].number())
    let (q, k) = (try item["q"].floats(), try item["k"].floats())
    let found = votes(q, k, tokens: snapkv.window, layer, rows: try number(item["rows"]))
    for (head, wanted) in try item["votes"].items().enumerated() {
        for (at, vote) in try wanted.floats().enumerated() where !(abs(vote - found[head][at]) <= 1e-4) {
            throw Wrong(description: "head \(head), row \(at): \(found[head][at]) for \(vote)")
        }
    }
    try equal(kept(found, kvHeads: layer.kvHeads, snapkv), item["kept"].items().map { try $0.ids() })
}

private func stops(_ item: Json) throws {
    var filter = try StopStrings(item["stops"].texts())
    var found: [String] = []
    for piece in try item["pieces"].texts() where !filter.met { found.append(filter.feed(piece)) }
    try exactly(found, item["shown"].texts())
    try equal(filter.met, item["stopped"].flag())
    try exactly([filter.met ? "" : filter.finish()], [item["rest"].text()])
}

private func date() throws {
    let around = #"{"prefix":"","suffix":"|","trims":false}"#
    let chat = try Chat(Json.parse("""
        {"start":"On 26 Jul 2024: ","answer":">","roles":{"user":\(around),"system":{"prefix":"26 Jul 2024 ","suffix":"|","trims":true}},
        "today":{"said":"26 Jul 2024","format":"%d %b %Y %a %A %m %y %H:%M:%S %B %%"}}
        """))
    let day = DateComponents(year: 2031, month: 2, day: 3, hour: 4, minute: 5, second: 6, weekday: 2)
    let said = "03 Feb 2031 Mon Monday 02 31 04:05:06 February %"
    try equal(chat.rendered([Message("user", "26 Jul 2024")], now: day), "On \(said): 26 Jul 2024|>")
    try equal(chat.rendered([Message("system", " s "), Message("user", "u")], now: day), "\(said) s|u|>")
}
