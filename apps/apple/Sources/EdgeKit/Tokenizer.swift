/// Text into ids, as the `tokenizer.json` says of which this is the content: BPE of bytes or of SentencePiece's pieces. What
/// it asks for and this does not do is refused with an `EdgeError`, never done otherwise.
package final class Tokenizer {
    static let steps = 32 // of normalizers, and of pre-tokenizers
    static let growth = 256 // times that a replacement may be longer
    private static let added = 1 << 16

    private let bpe: Bpe
    private let normalizer: Normalizer
    private let preTokenizer: PreTokenizer
    private let raw: Finder // of tokens that stand in the text as it came
    private let normal: Finder // of those that are looked for after normalization
    private let added: [Int: AddedToken]
    private let kind: (_ inside: Bool) -> any Pieces

    /// One more than the highest id.
    package let size: Int

    package init(_ json: Json) throws {
        let bpe = try Bpe(json["model"])
        let normalizer = try EdgeKit.normalizer(json["normalizer"])
        let tokens = try (json["added_tokens"].orNil?.items(most: Self.added) ?? []).map { item in
            let token = try AddedToken(item)
            let known = bpe.vocabulary[token.content]
            if let known, known != token.id { throw item.wrong("has the id \(token.id), and \(known) in the vocabulary") }
            if known == nil && bpe.vocabulary.piece(token.id) != nil { throw item.wrong("has the id of another piece") }
            return token
        }
        added = Dictionary(tokens.map { ($0.id, $0) }) { $1 }
        raw = Finder(tokens.filter { !$0.normalized }.map { ($0.content, $0) })
        normal = Finder(tokens.filter { $0.normalized }.map { (normalizer($0.content), $0) })
        preTokenizer = try EdgeKit.preTokenizer(json["pre_tokenizer"])
        kind = try piecesOf(json["decoder"])
        size = max(bpe.vocabulary.size, (added.keys.max() ?? -1) + 1)
        (self.bpe, self.normalizer) = (bpe, normalizer)
    }

    /// Ids of a text, none added before or after it.
    package func encode(_ text: String) throws -> [Int] {
        var ids: [Int] = []
        let whole = text.scalars
        for stretch in raw.stretches(whole) {
            if let id = stretch.id {
                ids.append(id)
                continue
            }
            let normalized = normalizer(String(scalars: whole[stretch.range])).scalars
            for inner in normal.stretches(normalized) {
                if let id = inner.id {
                    ids.append(id)
                } else {
                    let first = stretch.range.lowerBound == 0 && inner.range.lowerBound == 0
                    let part = Part(text: String(scalars: normalized[inner.range]), first: first)
                    for word in try preTokenizer([part]) { bpe.encode(word.text, into: &ids) }
                }
            }
        }
        return ids
    }

    /// Begin a text; `inside` one already, a blank before the first piece is part of it.
    package func stream(inside: Bool = false) -> TextStream { TextStream(shown, kind(inside)) }

    /// The piece of an id, or nil where there is none or where it is not shown.
    private func shown(_ id: Int) -> String? {
        guard let token = added[id] else { return bpe.vocabulary.piece(id) }
        return token.special ? nil : token.content
    }
}
