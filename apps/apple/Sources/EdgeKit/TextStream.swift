/// Text of a sequence of token ids as it grows: without half a character, and without text that changes later.
package struct TextStream {
    private let piece: (Int) -> String?
    private var pieces: any Pieces

    init(_ piece: @escaping (Int) -> String?, _ pieces: any Pieces) { (self.piece, self.pieces) = (piece, pieces) }

    /// Text of pieces themselves, as a `decoder` of a tokenizer.json joins them.
    package init(pieces: [String], _ decoder: Json, inside: Bool = false) throws {
        self.init({ pieces.indices.contains($0) ? pieces[$0] : nil }, try piecesOf(decoder)(inside))
    }

    /// What can be shown now: possibly nothing.
    package mutating func feed(_ id: Int) -> String { piece(id).map { pieces.feed($0) } ?? "" }

    /// What was held back: an unfinished character becomes U+FFFD.
    package mutating func finish() -> String { pieces.finish() }
}

/// The streaming twin of the `decoder` of a tokenizer.json.
func piecesOf(_ decoder: Json) throws -> (_ inside: Bool) -> any Pieces {
    let steps = try flat(decoder)
    let kinds = try steps.map { try $0["type"].text() }
    if kinds == ["ByteLevel"] { return { _ in BytePieces() } }
    let strip = kinds.last == "Strip" ? steps.last : nil
    let replaces = try steps.filter { try $0["type"].text() == "Replace" }
    let rest = kinds.dropLast(strip == nil ? 0 : 1).filter { $0 != "Replace" }
    let ends = try strip?["stop"].whole(0...MOST) ?? 0
    let simple = try replaces.allSatisfy { try !needle($0["pattern"]).isRegex } && ends == 0
    if !simple || ![["Fuse"], ["ByteFallback", "Fuse"]].contains(rest) {
        let what = kinds.isEmpty ? "nothing" : kinds.joined(separator: ", ").first(80)
        throw decoder.wrong("is of \(what), which this app cannot show piece by piece")
    }
    let replaced = try replaces.map { (old: try needle($0["pattern"]).text, new: try $0["content"].text()) }
    if replaced.contains(where: { $0.old.isEmpty || $0.new.utf8.count > Tokenizer.growth }) {
        throw decoder.wrong("makes a text too long")
    }
    let start = try strip.map { (blank: try $0["content"].text(), count: try $0["start"].whole(0...MOST)) } ?? ("", 0)
    return { SentencePieces(replaced, $0 ? ("", 0) : start, fallback: rest.count == 2) }
}

private func flat(_ decoder: Json) throws -> [Json] {
    guard decoder.orNil != nil else { return [] }
    if try decoder["type"].text() != "Sequence" { return [decoder] }
    return try decoder["decoders"].items(most: Tokenizer.steps).flatMap(flat)
}

private let MOST = 1 << 20
