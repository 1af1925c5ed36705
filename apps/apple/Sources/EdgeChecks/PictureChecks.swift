import EdgeCoreML
import EdgeKit
import Foundation

extension Checks {
    /// Pictures are cut, resized and turned into numbers as edge does it.
    func pictures(_ golden: Golden) throws {
        let told = try golden.of("pictures")
        for (at, item) in try told["grids"].items().enumerated() {
            check("grid \(at)") {
                let (size, wanted) = (try item["size"].ids(), try item["grid"].ids())
                let found = grid(width: size[0], height: size[1], side: size[2], most: size[3])
                try equal([found.columns, found.rows], wanted)
            }
        }
        for (at, item) in try told["tiles"].items().enumerated() {
            check("tiles \(at)") {
                let (size, side) = (try item["size"].ids(), try item["side"].whole(1...99))
                let cut = grid(width: size[0], height: size[1], side: side, most: try item["most"].whole(1...40))
                let found = try tiles(drawn(size[0], size[1]), cut, side: side)
                try equal(found.map { $0.rgb.map(hex).joined() }, item["tiles"].texts())
            }
        }
        let facts = try PictureFacts(Json.parse(FACTS), vocab: 9)
        check("a tile's numbers") {
            let wanted = try told["prepared"].floats()
            let found = try facts.prepared(drawn(4, 4))
            try equal(zip(found, wanted).allSatisfy { abs($0 - $1) < 2e-6 } && found.count == wanted.count, true, "\(found)")
        }
        for (at, item) in try told["placed"].items().enumerated() {
            check("places \(at)") { try exactly([facts.placed(item["text"].text(), item["rows"].ids())], [item["placed"].text()]) }
        }
        for item in try told["halves"].items() {
            check("half") { try equal(half(Float(item["number"].number())), UInt16(item["bits"].whole(0...65535)), "\(item["number"].number())") }
        }
        check("every half is its own") { try equal((0...UInt16.max).filter { half(float($0)) != $0 && !float($0).isNaN }, []) }
        check("texts for more pictures, or with what stands for them") {
            try refused("2 times, and there are 1 pictures") { _ = try facts.placed("<image><image>", [1]) }
            try refused("leave it out") { _ = try facts.placed("a <IMG_CONTEXT>", []) }
        }
        pictureFiles()
    }

    private func pictureFiles() {
        func read(_ head: String, _ count: Int = 6) throws -> Picture {
            var rest = Array(head.utf8) + [UInt8](repeating: 10, count: count)
            return try Picture { defer { rest = [] }; return rest }
        }
        check("a PPM, with comments") {
            let found = try read("P6 # 7 7\n2\t# no\n1 255\n")
            try equal([found.width, found.height, found.rgb.count], [2, 1, 6])
        }
        for (head, words) in [
            ("P5 2 1 255\n", "no PPM"), ("P6 2 2 255\n", "cut off"), ("P6 2 1 65535\n", "up to"), ("P6 0 1 255\n", "make it smaller"),
            ("P6 32768 32768 255\n", "make it smaller"), ("P6 99999999999999999999 1 255\n", "up to"), ("P6 900 1 255\n", "crop it"),
            ("P6 2", "head is broken"), ("", "no PPM"),
        ] {
            check("a picture \(head)") { try refused(words) { _ = try read(head, words == "crop it" ? 2700 : head.count > 9 ? 6 : 0) } }
        }
        for (wrong, right, words) in [(#""side":8"#, #""side":0"#, "side"), (#""id":3"#, #""id":9"#, "id"), ("0.224", "0", "std")] {
            check("pictures whose \(words) is wrong") {
                try refused(words) { _ = try PictureFacts(Json.parse(FACTS.replacingOccurrences(of: wrong, with: right)), vocab: 9) }
            }
        }
    }

    /// A conversation about pictures goes on from what it saw, and one about others sees anew.
    func sees(_ app: URL, _ place: URL, _ pictures: [URL]) async {
        await check("pictures of a conversation") {
            let shown = try pictures.map(picture(from:))
            let model = try await openModel(app, compiled: place)
            func asked(_ number: Int) -> [Message] { [Message("user", "Read the text.", pictures: [shown[number]])] }
            let first = try await said(model, asked(0), tokens: 8)
            print("first: \(first)")
            let talk = asked(0) + [Message("assistant", first), Message("user", "And again?")]
            print("second: \(try await said(model, talk, tokens: 8))")
            print("other: \(try await said(model, asked(1), tokens: 8))")
            print("first again: \(try await said(model, asked(0), tokens: 8))")
        }
    }
}

/// apps/golden/make.py draws the same.
private func drawn(_ width: Int, _ height: Int) throws -> Picture {
    func byte(_ at: Int) -> UInt8 { UInt8(truncatingIfNeeded: at * at * 7 + at * 13) }
    return try Picture(width: width, height: height, rgb: (0..<3 * width * height).map(byte))
}

private func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

private let FACTS = """
    {"side":8,"most":4,"rows":2,"width":4,"scale":0.00392156862745098,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],
    "mark":"<image>","begin":"<img>","place":{"text":"<IMG_CONTEXT>","id":3},"end":"</img>"}
    """
