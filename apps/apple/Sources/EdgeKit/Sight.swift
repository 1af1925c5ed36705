/// `pictures` of app.json: how a picture is cut, how its bytes become numbers, and how it stands in a conversation.
package struct PictureFacts: Sendable {
    package let side, most: Int
    /// Of one tile, in the decoder.
    package let rows: Int
    package let width: Int
    package let place: Int // the id that stands for a row
    let begin, placeText, end, mark: String
    private let scale: Float
    private let mean, std: [Float]

    package init(_ json: Json, vocab: Int) throws {
        side = try json["side"].whole(1...TILE)
        most = try json["most"].whole(1...TILES)
        rows = try json["rows"].whole(1...TILE)
        width = try json["width"].whole(1...WIDTH)
        place = try json["place"]["id"].whole(0...(vocab - 1))
        (begin, end, mark) = (try json["begin"].text(), try json["end"].text(), try json["mark"].text())
        placeText = try json["place"]["text"].text()
        scale = Float(try json["scale"].number())
        mean = try colour(json["mean"])
        std = try colour(json["std"])
        if std.contains(0) { throw try json["std"].wrong("holds 0, by which nothing can be divided") }
        for (name, text) in [("place", placeText), ("mark", mark)] where text.isEmpty { throw try json[name].wrong("is empty") }
    }

    /// A tile's numbers, [side, side, 3].
    package func prepared(_ tile: Picture) -> [Float] {
        tile.rgb.indices.map { (Float(tile.rgb[$0]) * scale - mean[$0 % 3]) / std[$0 % 3] }
    }

    /// A text with so many placeholders for each picture: where it has `<image>`, or before it.
    package func placed(_ text: String, _ rows: [Int]) throws -> String {
        if text.replaced(placeText, by: "") != text { throw EdgeError("The text holds \(placeText), which stands for pictures: leave it out.") }
        var parts = pieces(text)
        let missing = rows.count - (parts.count - 1)
        if missing < 0 { throw EdgeError("The text has \(mark) \(parts.count - 1) times, and there are \(rows.count) pictures.") }
        if missing > 0 { parts = [""] + Array(repeating: "\n", count: missing - 1) + ["\n" + parts[0]] + parts.dropFirst() }
        return zip(rows, parts.dropFirst()).reduce(parts[0]) { $0 + begin + String(repeating: placeText, count: $1.0) + end + $1.1 }
    }

    private func pieces(_ text: String) -> [String] {
        let (all, mark) = (Array(text.utf8), Array(mark.utf8))
        var out: [[UInt8]] = [[]]
        var at = 0
        while at < all.count {
            if all.count - at >= mark.count, all[at..<at + mark.count].elementsEqual(mark) {
                out.append([])
                at += mark.count
            } else {
                out[out.count - 1].append(all[at])
                at += 1
            }
        }
        return out.map { String(decoding: $0, as: UTF8.self) }
    }
}

private let TILE = 4096
private let TILES = 40
private let WIDTH = 1 << 16

private func colour(_ json: Json) throws -> [Float] {
    let found = try json.items(most: 3).map { Float(try $0.number()) }
    if found.count != 3 { throw json.wrong("has no three colours") }
    return found
}

/// The networks that see.
package protocol Eyes {
    /// Numbers of a tile [side, side, 3] -> its rows [N, D], one after the other.
    func rows(_ tile: [Float]) throws -> [Float]
}

/// Rows [N, D] of pictures, one after the other.
package struct Rows: Sendable {
    package let width: Int
    package var values: [Float] = []

    package init(width: Int) { self.width = width }

    package var count: Int { values.count / width }

    package subscript(row: Int) -> ArraySlice<Float> { values[row * width..<(row + 1) * width] }
}

/// A decoder whose prompts may have pictures' rows among their ids: -1 - N is row N of those that were shown.
package protocol Spliced: TokenDecoder {
    var shown: Rows? { get set }
}

/// Sees pictures, and keeps the rows of those that a conversation holds.
final class Sight {
    let facts: PictureFacts
    private let eyes: any Eyes
    private(set) var rows: Rows
    private var seen: [(picture: Picture, rows: Range<Int>)] = []

    init(_ facts: PictureFacts, _ eyes: any Eyes) { (self.facts, self.eyes, rows) = (facts, eyes, Rows(width: facts.width)) }

    /// False where others were seen before, which are forgotten then: numbers of rows begin anew.
    func goesOn(_ pictures: [Picture]) -> Bool {
        if seen.allSatisfy({ pictures.contains($0.picture) }) { return true }
        (seen, rows) = ([], Rows(width: facts.width))
        return false
    }

    /// Which rows a picture has. It is given up where it was `stopped` between two tiles.
    func look(_ picture: Picture, _ stopped: () -> Bool) throws -> Range<Int> {
        if let known = seen.first(where: { $0.picture == picture }) { return known.rows }
        let cut = grid(width: picture.width, height: picture.height, side: facts.side, most: facts.most)
        var made: [Float] = []
        for tile in try tiles(picture, cut, side: facts.side) {
            if stopped() { throw CancellationError() }
            let some = try eyes.rows(facts.prepared(tile))
            if some.count != facts.rows * facts.width { throw EdgeError("The model's networks do not fit each other. Add the model again.") }
            made += some
        }
        let start = rows.count
        rows.values += made
        seen.append((picture, start..<rows.count))
        return start..<rows.count
    }
}
