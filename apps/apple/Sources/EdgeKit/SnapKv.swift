import Foundation

/// SnapKV (arXiv 2404.14469): after a prompt, each kv head keeps the cached rows that the prompt's end looks at.
package struct SnapKv: Sendable {
    /// Rows to keep, of which the last `window` vote.
    package var capacity: Int
    package var window: Int
    /// Rows that a vote is pooled over.
    package var kernel: Int
    /// First rows, kept always.
    package var sinks: Int

    package init(capacity: Int = 1024, window: Int = 32, kernel: Int = 7, sinks: Int = 0) {
        (self.capacity, self.window, self.kernel, self.sinks) = (capacity, window, kernel, sinks)
    }
}

/// Votes [H, S] of a layer -> for each of G kv heads the rows that it keeps, rising, [G, C]. The window's are among them.
package func kept(_ votes: [[Float]], kvHeads: Int, _ options: SnapKv) -> [[Int]] {
    let before = votes[0].count - options.window
    let share = votes.count / kvHeads
    return (0..<kvHeads).map { head in
        var worth = [Float](repeating: 0, count: before)
        for one in head * share..<(head + 1) * share {
            let pooled = highest(votes[one], before, options.kernel)
            for at in 0..<before { worth[at] += pooled[at] }
        }
        for at in 0..<before { worth[at] = at < options.sinks ? .infinity : worth[at] / Float(share) }
        let best = (0..<before).sorted { worth[$0] != worth[$1] ? worth[$0] > worth[$1] : $0 < $1 }
        return best.prefix(options.capacity - options.window).sorted() + Array(before..<before + options.window)
    }
}

/// The highest of so many neighbours, of each of the first `count` values; past the ends lie zeros, which count.
private func highest(_ values: [Float], _ count: Int, _ kernel: Int) -> [Float] {
    let half = (kernel - 1) / 2
    return (0..<count).map { at in
        let edge: Float = at < half || at + half >= count ? 0 : -.infinity
        return values[max(0, at - half)...min(count - 1, at + half)].reduce(edge, max)
    }
}

/// What attention of the last T queries gives each of S keys, summed, [H, S]: q [T, H, W] and k [G, S, W], flat and rotated.
package func votes(_ q: [Float], _ k: [Float], tokens: Int, _ layer: Layer, rows: Int) -> [[Float]] {
    var scores = [Double](repeating: 0, count: rows)
    return (0..<layer.heads).map { head in
        var sum = [Float](repeating: 0, count: rows)
        let keys = head / (layer.heads / layer.kvHeads) * rows * layer.width
        for t in 0..<tokens {
            let query = (t * layer.heads + head) * layer.width
            let seen = rows - tokens + t + 1
            for s in 0..<seen {
                var dot = 0.0
                for w in 0..<layer.width { dot += Double(q[query + w]) * Double(k[keys + s * layer.width + w]) }
                scores[s] = dot * layer.scale
            }
            let top = scores[..<seen].max() ?? 0
            var all = 0.0
            for s in 0..<seen {
                scores[s] = exp(scores[s] - top)
                all += scores[s]
            }
            for s in 0..<seen { sum[s] += Float(scores[s] / all) }
        }
        return sum
    }
}

/// Queries [T, H, W] turned by the angles of their positions, from `start` on (arXiv 2104.09864, by halves).
package func rotated(_ q: [Float], tokens: Int, _ layer: Layer, start: Int, _ rotary: Rotary) -> [Float] {
    var out = q
    let half = rotary.frequencies.count
    for t in 0..<tokens {
        for pair in 0..<half {
            let angle = Double(Float(start + t) * rotary.frequencies[pair])
            let (cosine, sine) = (cos(angle) * rotary.magnitude, sin(angle) * rotary.magnitude)
            for head in 0..<layer.heads {
                let at = (t * layer.heads + head) * layer.width + pair
                out[at] = Float(Double(q[at]) * cosine - Double(q[at + half]) * sine)
                out[at + half] = Float(Double(q[at + half]) * cosine + Double(q[at]) * sine)
            }
        }
    }
    return out
}
