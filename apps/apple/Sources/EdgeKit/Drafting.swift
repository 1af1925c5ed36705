import Foundation

/// A decoder that can stop after its first layers. V vocabulary.
package protocol EarlyExit: TokenDecoder {
    /// One id through the first layers, after those that were drafted before it -> logits there: of all ids, or of the first.
    func draft(_ id: Int) throws -> [Float]

    /// Append what was drafted, and one id more, by the remaining layers -> logits [V] of what follows each.
    func finish(_ id: Int) throws -> [[Float]]
}

/// Self-speculation (LayerSkip, arXiv 2404.16710): the first layers of a model draft tokens, and the others read them at once.
///
/// It is a decoder like any other, so that whoever chooses tokens needs not know: what was drafted is kept as long as the
/// tokens that are chosen are the drafted ones, and each is chosen by the whole model's logits.
package final class Drafting: TokenDecoder {
    private let inner: any EarlyExit
    private let most: Int // tokens of a draft
    private var trust = Trust()
    private var drafts: [(id: Int, sure: Double)] = []
    private var read: [[Float]] = [] // logits after the last token before the drafts, and after each of them
    private var place = 0 // drafts that were chosen, too
    package private(set) var length = 0
    /// Tokens that were drafted, and of them those that were kept.
    package private(set) var drafted = 0
    package private(set) var accepted = 0

    package init(_ inner: any EarlyExit, most: Int = 7) { (self.inner, self.most) = (inner, most) }

    package var capacity: Int { inner.capacity }

    package func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        rewind(length)
        trust = Trust() // the same question drafts the same
        defer { length = inner.length }
        return try inner.prefill(ids, stopped: stopped)
    }

    package func step(_ id: Int) throws -> [Float] {
        if place < drafts.count {
            let kept = drafts[place].id == id
            trust.learn(drafts[place].sure, kept)
            if kept {
                (place, length, accepted) = (place + 1, length + 1, accepted + 1)
                return read[place]
            }
        }
        rewind(length)
        let found = try round(id)
        guard found.count == drafts.count + 1 else { throw EdgeError("The model read other tokens than were drafted.") }
        (read, length) = (found, length + 1)
        return found[0]
    }

    package func rewind(_ length: Int) {
        inner.rewind(length)
        (self.length, drafts, read, place) = (length, [], [], 0)
    }

    /// Draft what may follow an id, then read all of it.
    private func round(_ id: Int) throws -> [[Float]] {
        let most = min(most, capacity - length - 1)
        var (last, open) = (id, most > 0)
        while open {
            let logits = try inner.draft(last)
            last = try likeliest(logits)
            drafts.append((last, sureness(logits, last)))
            open = drafts.count < most && trust.chance(drafts[drafts.count - 1].sure) >= LEAST
        }
        drafted += drafts.count
        return try inner.finish(last)
    }
}

/// How often drafted tokens were kept, by how sure the first layers were of them: their word, until there is something to count.
private struct Trust {
    private var judged = [Double](repeating: 0, count: LEVELS)
    private var kept = [Double](repeating: 0, count: LEVELS)

    func chance(_ sure: Double) -> Double { (kept[level(sure)] + PRIOR * sure) / (judged[level(sure)] + PRIOR) }

    mutating func learn(_ sure: Double, _ wasKept: Bool) {
        judged[level(sure)] += 1
        if wasKept { kept[level(sure)] += 1 }
    }

    private func level(_ sure: Double) -> Int { max(0, min(Int(sure * Double(LEVELS)), LEVELS - 1)) }
}

private let LEVELS = 8 // of sureness, that are told apart
private let PRIOR = 2.0 // tokens that must have been judged to count as much as the word of the first layers
private let LEAST = 0.5 // a draft ends with a token that is less likely to be kept

/// The likeliest token's probability.
private func sureness(_ logits: [Float], _ best: Int) -> Double {
    1 / logits.reduce(0) { $0 + exp(Double($1 - logits[best])) }
}
