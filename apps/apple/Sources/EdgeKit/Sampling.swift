import Foundation

/// How the next token is chosen from the logits: the likeliest where `temperature` is 0, else drawn from a trimmed
/// distribution. The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
package struct Sampling: Sendable {
    package var temperature = 0.0
    package var topK: Int?
    package var topP: Double?
    package var minP: Double?
    package var penalty = 1.0 // of a repetition

    package init(temperature: Double = 0, topP: Double? = nil) { (self.temperature, self.topP) = (temperature, topP) }

    package init(_ json: Json) throws {
        temperature = min(100, max(0, try json["temperature"].number()))
        topK = try json["top_k"].orNil?.whole(1...(1 << 31))
        topP = try json["top_p"].orNil?.number()
        minP = try json["min_p"].orNil?.number()
        penalty = try json["repetition_penalty"].number()
        if penalty <= 0 || penalty > 100 { throw try json["repetition_penalty"].wrong("is no penalty") }
    }
}

/// One token for logits [V]; `history`: tokens that the penalty counts; `random`: a number from 0 to 1, without 1.
package func pick(_ logits: [Float], _ sampling: Sampling, _ history: [Int], _ random: () -> Double) throws -> Int {
    let seen = penalized(logits, sampling.penalty, history)
    let best = try likeliest(seen)
    if sampling.temperature == 0 { return best }
    let choice = Choice(seen, sampling, best)
    var left = random() * choice.all.reduce(0) { $0 + $1.weight }
    for one in choice.all {
        left -= one.weight
        if left < 0 { return one.token }
    }
    return choice.all.last?.token ?? best // a draw may round up to the total itself
}

/// Tokens that may be drawn, in rising order, and their weights: the likeliest weighs one.
private struct Choice {
    var all: [(token: Int, weight: Double)]

    init(_ logits: [Float], _ sampling: Sampling, _ best: Int) {
        var least = -Float.infinity
        if let topK = sampling.topK, topK < logits.count { least = logits.sorted()[logits.count - topK] }
        all = logits.indices.filter { logits[$0] >= least }.map { token in // equals of the last one stay, too
            // The highest goes first: divided by a small temperature, logits overflow.
            (token, exp((Double(logits[token]) - Double(logits[best])) / sampling.temperature))
        }
        if let topP = sampling.topP, topP < 1 { nucleus(topP) }
        if let minP = sampling.minP { all.removeAll { $0.weight < minP } }
        if all.isEmpty { all = [(best, 1)] }
    }

    /// The fewest heaviest that make up `share` of all.
    private mutating func nucleus(_ share: Double) {
        let sorted = all.map(\.weight).sorted()
        let enough = share * all.reduce(0) { $0 + $1.weight }
        var at = sorted.count
        var sum = 0.0
        while at > 0 && sum < enough {
            at -= 1
            sum += sorted[at]
        }
        let least = sorted[min(at, sorted.count - 1)]
        var alike = sorted.count - at - all.count { $0.weight > least } // of those as light as the last: the first
        if at == sorted.count { alike = 1 } // at least one stays
        all = all.filter { one in
            if one.weight == least {
                alike -= 1
                return alike >= 0
            }
            return one.weight > least
        }
    }
}

private func penalized(_ logits: [Float], _ penalty: Double, _ history: [Int]) -> [Float] {
    if penalty == 1 || history.isEmpty { return logits }
    var out = logits
    for token in Set(history) where out.indices.contains(token) { out[token] *= Float(out[token] < 0 ? penalty : 1 / penalty) }
    return out
}

/// The first of the highest; refuses numbers that are none.
func likeliest(_ logits: [Float]) throws -> Int {
    var best = 0
    for at in logits.indices {
        if logits[at].isNaN || logits[at] > logits[best] { best = at }
        if logits[best].isNaN { break }
    }
    guard let highest = logits.isEmpty ? nil : logits[best], highest.isFinite else {
        let what = logits.isEmpty ? "missing" : "\(logits[best])"
        throw EdgeError("The highest of \(logits.count) logits is \(what): the model's numbers are broken.")
    }
    return best
}

/// Numbers from 0 to 1, without 1, that a seed gives again: SplitMix64.
struct Draws {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> Double {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return Double((z ^ (z >> 31)) >> 11) / 9_007_199_254_740_992
    }
}
