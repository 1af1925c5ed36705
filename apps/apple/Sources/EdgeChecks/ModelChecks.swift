import EdgeCoreML
import EdgeKit
import Foundation

extension Checks {
    /// Core ML's packages give the tokens of `edge run --reference`, which `told` has. `app`: a folder that `edge app` wrote.
    func model(_ told: Json, _ app: URL, _ place: URL) async throws {
        let about = try ModelFolder(app).description
        let tokenizer = try ModelFolder(app).tokenizer()
        let packages = try await Packages(app, compiled: place)
        for (at, item) in try told.items().enumerated() {
            check("tokens \(at)") {
                let decoder = try packages.decoder(item["snapkv"].orNil.map { options in
                    func number(_ name: String) throws -> Int { try options[name].whole(0...9999) }
                    return SnapKv(
                        capacity: try number("capacity"), window: try number("window"), kernel: try number("kernel"),
                        sinks: try number("sinks"))
                })
                let (ids, wanted) = (try item["ids"].ids(), try item["tokens"].ids())
                let wish = Wish(stop: about.stop, most: try item["most"].whole(1...9999))
                for _ in 0..<2 { // and once more from the beginning
                    let made = try generate(decoder, ids, tokenizer.stream(), wish) { _ in }
                    try equal(made.tokens, wanted)
                    try equal(decoder.length, ids.count + wanted.count - (made.ending == .stop ? 0 : 1))
                    decoder.rewind(0)
                }
            }
        }
        check("what was undone is written over") {
            let item = try told.items()[0]
            let (ids, decoder) = (try item["ids"].ids(), try packages.decoder())
            _ = try decoder.prefill(ids + [5, 6, 7], stopped: { false })
            decoder.rewind(ids.count - 1)
            let made = try generate(decoder, [ids[ids.count - 1]], tokenizer.stream(), Wish(stop: about.stop, most: 8)) { _ in }
            try equal(made.tokens, Array(item["tokens"].ids().prefix(8)))
        }
    }
}
