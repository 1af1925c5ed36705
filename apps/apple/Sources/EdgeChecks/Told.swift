import EdgeKit

/// Says ids that were given, in order, and keeps what it was asked.
final class Told: Evictable {
    private let ids: [Int]
    let capacity: Int
    private let vocab: Int
    private(set) var length = 0
    private(set) var rows = 0
    private(set) var asked: [String] = []
    private var said = 0

    init(_ ids: [Int] = [0, 1, 2, 3, 4, 5, 15], capacity: Int = 64, vocab: Int = 16) {
        (self.ids, self.capacity, self.vocab) = (ids, capacity, vocab)
    }

    var sizes: Sizes { Sizes(vocab: vocab, context: capacity, layers: [Layer(heads: 1, kvHeads: 1, width: 2, scale: 1)], rotary: nil) }

    func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        asked.append("prefill \(ids.count)")
        return next(ids.count)
    }

    func step(_ id: Int) throws -> [Float] { next(1) }

    func rewind(_ length: Int) {
        asked.append("rewind \(length)")
        if length < self.length { (self.length, rows) = (length, length) }
    }

    func observe(_ ids: [Int]) throws -> ([Float], [[[Float]]]) {
        asked.append("observe \(ids.count)")
        let logits = next(ids.count)
        return (logits, [[(0..<rows).map { Float($0) }]])
    }

    func cut(_ kept: [[[Int]]]) throws {
        asked.append("cut \(kept[0][0].first ?? -1)")
        rows = kept[0][0].count
    }

    private func next(_ count: Int) -> [Float] {
        length += count
        rows += count
        defer { said += 1 }
        return (0..<vocab).map { $0 == ids[said % ids.count] ? 1 : 0 }
    }
}

func endings() throws {
    let letters = "abcdefghijklmnop".map { String($0) }
    let decoder = try Json.parse(#"{"type":"Fuse"}"#)
    func told(_ wish: Wish, _ model: Told = Told(), _ prompt: [Int] = [1]) throws -> [String] {
        var text = ""
        let made = try generate(model, prompt, TextStream(pieces: letters, decoder), wish) { text += $0 }
        return [text, made.ending.rawValue]
    }
    try equal(told(Wish(stop: [15])), ["abcdef", "stop"])
    try equal(told(Wish(stop: [15], stops: ["cd"])), ["ab", "stop"])
    try equal(told(Wish(stop: [15], stops: ["cx"], most: 3)), ["abc", "length"])
    let small = Told(capacity: 3)
    try equal(told(Wish(stop: [15]), small, [1, 1]), ["ab", "context"])
    try refused("this model reads at most 3") { _ = try told(Wish(stop: [15]), small) }
    try refused("has no tokens") { _ = try told(Wish(stop: [15]), Told(), []) }
    var (wish, asked) = (Wish(stop: [15]), 0)
    wish.stopped = {
        asked += 1
        return asked == 3
    }
    try equal(told(wish), ["ab", "cancelled"])
}

func compacting() throws {
    let inner = Told()
    let decoder = Compacting(inner, SnapKv(capacity: 6, window: 2))
    _ = try decoder.prefill([1, 2, 3], stopped: { false })
    _ = try decoder.prefill([1, 2, 3, 4], stopped: { false })
    try equal(inner.asked, ["prefill 3", "prefill 2", "observe 2", "cut 1"])
    try equal([decoder.length, inner.rows], [7, 6])
    decoder.rewind(7)
    try equal(decoder.length, 7)
    decoder.rewind(5) // what was forgotten is read anew
    try equal(decoder.length, 0)
    decoder.rewind(0)
    try equal(inner.asked.suffix(3), ["rewind 7", "rewind 0", "rewind 0"])
}
