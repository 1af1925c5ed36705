/// Why an answer ended.
package enum Ending: String { case stop, length, context, cancelled }

/// What `generate` made: tokens, why there are no more, seconds to the first, and tokens a second of the others.
package struct Generated {
    package let tokens: [Int]
    package let ending: Ending
    package let firstSeconds: Double
    package let tokensPerSecond: Double
}

/// How to answer.
package struct Wish {
    /// Ids that end it and are not given out.
    package var stop: Set<Int>
    package var stops: [String] = []
    package var sampling = Sampling()
    package var most = 512
    /// Tokens before the prompt, for the penalty.
    package var seen: [Int] = []
    /// What a row of a picture counts as there.
    package var place = 0
    package var random: () -> Double = { 0 }
    package var stopped: () -> Bool = { false }

    package init(stop: Set<Int>, stops: [String] = [], most: Int = 512) { (self.stop, self.stops, self.most) = (stop, stops, most) }
}

/// Feed ids after what the decoder holds, and choose tokens; their text is given in pieces, as soon as it is certain.
package func generate(
    _ decoder: any TokenDecoder, _ ids: [Int], _ stream: TextStream, _ wish: Wish, piece: (String) -> Void
) throws -> Generated {
    if ids.isEmpty { throw EdgeError("There is nothing to answer: the text has no tokens.") }
    let all = decoder.length + ids.count
    if all > decoder.capacity {
        throw EdgeError("""
            The conversation has \(all) tokens, and this model reads at most \(decoder.capacity): begin a new one, or shorten \
            the text.
            """)
    }
    var (stream, filter) = (stream, try StopStrings(wish.stops))
    var history = (wish.seen + ids).map { $0 < 0 ? wish.place : $0 }
    var tokens: [Int] = []
    func show(_ text: String) { if !text.isEmpty { piece(text) } }
    let clock = ContinuousClock()
    var first = Duration.zero
    var spent = Duration.zero // until each later token is chosen: what the caller does with a piece does not count
    var steps = 0
    var ending = Ending.cancelled
    var since = clock.now
    var logits = try decoder.prefill(ids, stopped: wish.stopped)
    while let found = logits, !wish.stopped() {
        let id = try pick(found, wish.sampling, history, wish.random)
        if steps == 0 { first = clock.now - since } else { spent += clock.now - since }
        if wish.stop.contains(id) {
            ending = .stop
            break
        }
        tokens.append(id)
        history.append(id)
        show(filter.feed(stream.feed(id)))
        if filter.met { ending = .stop } else if tokens.count >= wish.most { ending = .length } else if decoder.length >= decoder.capacity {
            ending = .context
        }
        if ending != .cancelled { break }
        since = clock.now
        steps += 1
        logits = try decoder.step(id)
    }
    if !filter.met {
        show(filter.feed(stream.finish()))
        if filter.met { ending = .stop } else { show(filter.finish()) }
    }
    let rate = spent > .zero ? Double(steps) / seconds(spent) : 0
    return Generated(tokens: tokens, ending: ending, firstSeconds: seconds(first), tokensPerSecond: rate)
}

private func seconds(_ time: Duration) -> Double { Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18 }

/// How many cached ids to keep of those that are wanted now: at least one is left to feed.
package func shared(_ cached: [Int], _ wanted: [Int]) -> Int {
    zip(cached, wanted.dropLast()).prefix { $0 == $1 }.count
}
