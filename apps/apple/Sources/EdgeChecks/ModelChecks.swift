import EdgeCoreML
import EdgeKit
import EdgeMLX
import Foundation

extension Checks {
    /// What a model of MLX kept of a conversation is what it would read again.
    func turns(_ app: URL) async {
        await check("a second turn goes on from the first") {
            let (model, first) = (try await openMlx(app), [Message("user", "Tell me a story.")])
            let talk = first + [Message("assistant", try await said(model, first, tokens: 6)), Message("user", "More.")]
            let (found, wanted) = (try await said(model, talk, tokens: 6), try await said(openMlx(app), talk, tokens: 6))
            try equal(found, wanted)
            try equal(found.isEmpty, false)
        }
    }

    /// Answers of the packaged model are those that every core must give, from the whole cache and from one that was cut.
    func answers(_ golden: Golden, _ app: URL, _ place: URL) async throws {
        let about = try ModelFolder(app).description
        let tokenizer = try ModelFolder(app).tokenizer()
        let packages = try await Packages(app, compiled: place)
        for (at, item) in try golden.of("answers").items().enumerated() {
            check("answer \(at)") {
                var pieces: [String] = []
                let wish = Wish(stop: about.stop, most: 48)
                let made = try generate(packages.decoder(), item["ids"].ids(), tokenizer.stream(), wish) { pieces.append($0) }
                try equal(made.tokens, item["tokens"].ids())
                try equal(made.ending.rawValue, item["ending"].text())
                try exactly(pieces, item["pieces"].texts())
            }
        }
        for (at, item) in try golden.of("compacted").items().enumerated() {
            check("compacted \(at)") {
                let decoder = try packages.decoder(.snapkv, cut(item))
                let made = try generate(decoder, item["ids"].ids(), tokenizer.stream(), Wish(stop: about.stop, most: 32)) { _ in }
                try equal(made.tokens, item["tokens"].ids())
            }
        }
    }

    /// Core ML's packages give the tokens of `edge run --reference`, which `told` has. `app`: a folder that `edge app` wrote.
    func model(_ told: Json, _ app: URL, _ place: URL) async throws {
        let about = try ModelFolder(app).description
        let tokenizer = try ModelFolder(app).tokenizer()
        let packages = try await Packages(app, compiled: place)
        for (at, item) in try told.items().enumerated() {
            check("tokens \(at)") {
                let decoder = try made(packages, item)
                let (ids, wanted) = (try item["ids"].ids(), try item["tokens"].ids())
                let wish = Wish(stop: about.stop, most: try item["most"].whole(1...9999))
                for _ in 0..<2 { // and once more from the beginning
                    let made = try generate(decoder, ids, tokenizer.stream(), wish) { _ in }
                    try equal(made.tokens, wanted)
                    try equal(decoder.length, ids.count + wanted.count - (made.ending == .stop ? 0 : 1))
                    decoder.rewind(0)
                }
                if let drafts = try item["drafts"].orNil, let decoder = decoder as? Drafting {
                    let told = try ["drafted", "accepted"].map { 2 * (try drafts[$0].whole(0...9999)) }
                    // The end is not known to a draft: the last one may be longer, and an id that ends an answer is not read.
                    guard told[0]...told[0] + 14 ~= decoder.drafted, told[1] - 2...told[1] ~= decoder.accepted, told[1] > 2 else {
                        throw Wrong(description: "\(decoder.accepted) of \(decoder.drafted) drafts were kept, and edge kept \(told)")
                    }
                }
            }
        }
        await check("what was compiled and is broken is compiled again, and nothing is left elsewhere") {
            func temporary() -> [String] {
                let all = FileManager.default.enumerator(atPath: FileManager.default.temporaryDirectory.path)
                return all?.compactMap { $0 as? String }.filter { $0.hasSuffix(".mlmodelc") }.sorted() ?? []
            }
            let before = temporary()
            let kept = try FileManager.default.contentsOfDirectory(atPath: place.path)
            for name in kept {
                let folder = place.appendingPathComponent(name)
                try FileManager.default.removeItem(at: folder)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            }
            _ = try await Packages(app, compiled: place).decoder()
            try equal(FileManager.default.contentsOfDirectory(atPath: place.path).sorted(), kept.sorted())
            try equal(temporary(), before)
        }
        check("what was undone is not seen again") {
            let ids = try told.items()[0]["ids"].ids().suffix(40)
            func read(_ parts: [[Int]], undo: Int = 0) throws -> [Float] {
                let decoder = try packages.decoder()
                var logits: [Float]?
                for (at, part) in parts.enumerated() {
                    if at > 0 { decoder.rewind(decoder.length - undo) }
                    logits = try decoder.prefill(part, stopped: { false })
                }
                return logits ?? []
            }
            let (plain, undone) = (try read([ids.dropLast(), [ids[ids.endIndex - 1]]]), try read([ids + [5, 6, 7], [ids[ids.endIndex - 1]]], undo: 4))
            let far = zip(plain, undone).map { abs($0 - $1) }.max() ?? .infinity
            if far > 0.02 { throw Wrong(description: "logits differ by \(far)") }
        }
        #if !(os(macOS) && arch(x86_64)) // which has no such type
        check("numbers of 16 bits are what they were") {
            for bits in 0...UInt16.max {
                let (found, wanted) = (float(bits), Float(Float16(bitPattern: bits)))
                if found != wanted && !(found.isNaN && wanted.isNaN) { throw Wrong(description: "\(bits): \(found)") }
            }
        }
        #endif
    }
}

/// The decoder that a case asks for.
private func made(_ packages: Packages, _ item: Json) throws -> any TokenDecoder {
    if try item["drafts"].orNil != nil { return try packages.decoder(.drafts) }
    guard let options = try item["snapkv"].orNil else { return try packages.decoder() }
    return try packages.decoder(.snapkv, cut(options))
}

/// How a cache is cut.
private func cut(_ options: Json) throws -> SnapKv {
    func number(_ name: String) throws -> Int { try options[name].whole(0...9999) }
    return SnapKv(
        capacity: try number("capacity"), window: try number("window"), kernel: try number("kernel"), sinks: try number("sinks"))
}
