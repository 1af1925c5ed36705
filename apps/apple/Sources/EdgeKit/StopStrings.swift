/// Text that ends an answer and is not part of it. Nothing is shown that may still become a stop string, and nothing else is
/// held back.
package struct StopStrings {
    private let stops: [Scalars]
    private var held: Scalars = []

    /// Whether one was met: feed no more then.
    package private(set) var met = false

    package init(_ stops: [String]) throws {
        if stops.contains("") { throw EdgeError("A stop string is empty: it would end every answer.") }
        self.stops = stops.map(\.scalars)
    }

    /// A piece of an answer -> what may be shown now.
    package mutating func feed(_ piece: String) -> String {
        let text = held + piece.scalars
        var first: (start: Int, end: Int)? // whichever is complete first
        for stop in stops {
            guard let start = place(of: stop, in: text) else { continue }
            let end = start + stop.count
            if first.map({ end < $0.end || (end == $0.end && start < $0.start) }) ?? true { first = (start, end) }
        }
        if let first {
            held = []
            met = true
            return String(scalars: text[..<first.start])
        }
        let sure = text.count - unsure(text)
        held = Array(text[sure...])
        return String(scalars: text[..<sure])
    }

    /// What was held back and did not become a stop string.
    package mutating func finish() -> String {
        defer { held = [] }
        return String(scalars: held)
    }

    private func unsure(_ text: Scalars) -> Int {
        let longest = min(text.count, (stops.map(\.count).max() ?? 1) - 1)
        return (0...longest).last { length in length == 0 || stops.contains { $0.starts(with: text.suffix(length)) } } ?? 0
    }
}

private func place(of part: Scalars, in text: Scalars) -> Int? {
    if part.count > text.count { return nil }
    return (0...(text.count - part.count)).first { text[$0..<$0 + part.count].elementsEqual(part) }
}
