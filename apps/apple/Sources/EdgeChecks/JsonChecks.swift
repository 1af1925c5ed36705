import EdgeKit
import Foundation

extension Checks {
    func jsonTexts() {
        check("json is read as it is written") {
            let read = try Json.parse(#"{"a":[1,-2.5e3,true,false,null,"\u00e9\ud83d\ude42\n\"\\\/"],"b":{}," ":[]}"#)
            try equal(read["a"].items()[1].number(), -2500)
            try exactly([read["a"].items()[5].text()], ["é🙂\n\"\\/"])
            try equal(read.object().names, ["a", "b", " "])
            try equal(Json.parse("\(Int.max)").whole(0...Int.max), Int.max)
        }
        check("two spellings of a letter are two names") {
            let read = try Json.parse("{\"é\":1,\"e\u{301}\":2}")
            try equal(read["é"].whole(0...9), 1)
            try equal(read["e\u{301}"].whole(0...9), 2)
        }
        let wrong = [
            "", "{", "[1,]", "{\"a\":1,}", "[1 2]", "{\"a\" 1}", "{a:1}", "01", "1.", ".5", "+1", "-", "1e", "NaN", "nul", "truex",
            "\"", "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "1 1", "[]]", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800a\"",
            "\"\\ud800\\ud800\"", "\u{a0}1", "'a'", "[1]//", "\u{feff}1", String(repeating: "1", count: 65),
            String(repeating: "[", count: 70) + String(repeating: "]", count: 70),
        ]
        for text in wrong { check("json \(text)") { try refused("is not valid JSON") { _ = try Json.parse(text, "x.json") } } }
        check("bytes that are no UTF-8") {
            for bytes: [UInt8] in [[255], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2]] {
                try refused("is not valid JSON") { _ = try Json.parse([0x22] + bytes + [0x22], "x.json") }
            }
        }
        check("what asks for something else is told where it is") {
            let read = try Json.parse(#"{"a":[{"b":1e400}, 1.5, 1e3]}"#, "x.json")
            try refused("x.json cannot be used: a[0].b is no number.") { _ = try read["a"].items()[0]["b"].number() }
            try refused("a[1] is no whole number of 0..9") { _ = try read["a"].items()[1].whole(0...9) }
            try refused("a is no text") { _ = try read["a"].text() }
            try refused("c is no list") { _ = try read["c"].items() }
        }
        check("values that take too much memory are refused before they are there") {
            for (start, part) in [("[", "[[],[],[],[],[],[],[],[]],"), ("[", "{},"), ("\"", "aaaaaaaaaaaaaaaa")] {
                let more = Array(String(repeating: part, count: 1000).utf8)
                var first = Array(start.utf8)
                let endless: Bytes = { defer { first = more }; return first }
                try refused("x.json holds more than this app has memory for.") { _ = try Json.read(endless, "x.json") }
            }
            let (peak, bound) = (peakMegabytes(), 700)
            if peak > bound { throw Wrong(description: "\(peak) MB were taken, and \(bound) are the most") }
        }
        check("hashes are those of the standard") {
            func hash(_ parts: [[UInt8]]) -> String {
                var hash = Sha256()
                for part in parts { hash.update(part) }
                return hash.digits()
            }
            try equal(hash([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            try equal(hash([Array("abc".utf8)]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            let million = [UInt8](repeating: 0x61, count: 1_000_000)
            let wanted = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
            try equal(hash([million]), wanted)
            for step in [1, 55, 56, 63, 64, 65, 1000] {
                let parts = stride(from: 0, to: 1_000_000, by: step).map { Array(million[$0..<min($0 + step, 1_000_000)]) }
                try equal(hash(parts), wanted)
            }
        }
    }
}

/// The most memory that this process had so far.
func peakMegabytes() -> Int {
    var usage = rusage()
    #if os(Linux)
    let bytes = 1024 // it counts
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    #else
    let bytes = 1
    getrusage(RUSAGE_SELF, &usage)
    #endif
    return Int(usage.ru_maxrss) * bytes >> 20
}
