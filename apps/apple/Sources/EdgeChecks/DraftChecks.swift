import EdgeKit

/// What follows depends on all that was read; its first layers are right so often, of a hundred.
private final class Guessing: EarlyExit {
    private let right: Int
    private var read: [Int] = []
    private var ahead: [Int] = []
    let capacity = 64
    private(set) var calls = 0

    init(right: Int) { self.right = right }

    var length: Int { read.count }

    func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        (read, ahead) = (read + ids, [])
        return logits(next(read))
    }

    func step(_ id: Int) throws -> [Float] { try finish(id)[0] }

    func rewind(_ length: Int) { (read, ahead) = (Array(read.prefix(length)), []) }

    func draft(_ id: Int) throws -> [Float] {
        ahead.append(id)
        let (all, wanted) = (read + ahead, next(read + ahead))
        return logits(hash(all) / 16 % 100 < right ? wanted : (wanted + 1) % 16)
    }

    func finish(_ id: Int) throws -> [[Float]] {
        calls += 1
        let new = ahead + [id]
        defer { (read, ahead) = (read + new, []) }
        return new.indices.map { logits(next(read + new[...$0])) }
    }

    private func next(_ ids: [Int]) -> Int { hash(ids) % 16 }

    private func hash(_ ids: [Int]) -> Int { ids.reduce(7) { ($0 * 31 + $1 + 1) % 1_000_003 } }

    private func logits(_ id: Int) -> [Float] { (0..<16).map { $0 == id ? 4 : 0 } }
}

/// Drafts change no answer, however good they are, and good ones save work.
func drafting() throws {
    let letters = "abcdefghijklmnop".map { String($0) }
    let decoder = try Json.parse(#"{"type":"Fuse"}"#)
    func told(_ model: any TokenDecoder, _ prompt: [Int], _ sampling: Sampling = Sampling()) throws -> [Int] {
        var (wish, draws) = (Wish(stop: [15], most: 99), 0)
        wish.sampling = sampling
        wish.random = {
            draws += 1
            return Double(draws * 37 % 100) / 100
        }
        let made = try generate(model, prompt, TextStream(pieces: letters, decoder), wish) { _ in }
        try equal(model.length, prompt.count + made.tokens.count - (made.ending == .stop ? 0 : 1), "\(made.ending)")
        model.rewind(0)
        return made.tokens
    }
    for right in [0, 50, 80, 100] {
        let inner = Guessing(right: right)
        let (drafts, warm) = (Drafting(inner), Drafting(Guessing(right: right)))
        var tokens = 0
        for prompt in 0..<20 {
            let found = try told(drafts, [prompt, 3])
            try equal(found, told(Guessing(right: 0), [prompt, 3]), "right \(right)")
            tokens += found.count
            let hot = Sampling(temperature: 2, topP: 0.9)
            try equal(told(warm, [prompt, 4], hot), told(Guessing(right: 0), [prompt, 4], hot), "drawn, right \(right)")
        }
        if right == 0 { try equal(drafts.accepted, 0) }
        if right == 100 && !(drafts.accepted > tokens / 2 && inner.calls < drafts.accepted) {
            throw Wrong(description: "\(drafts.accepted) drafts of \(tokens) tokens were kept in \(inner.calls) calls")
        }
    }
    let drafts = Drafting(Guessing(right: 100))
    _ = try drafts.prefill([1, 2], stopped: { false })
    _ = try drafts.step(3)
    drafts.rewind(1) // what was drafted is not seen again
    try equal(drafts.prefill([2, 9], stopped: { false }), Guessing(right: 0).prefill([1, 2, 9], stopped: { false }))
}
