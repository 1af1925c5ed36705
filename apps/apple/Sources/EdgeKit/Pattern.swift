import Foundation

/// A pattern that finds what Oniguruma finds, by ICU's engine.
struct Pattern {
    private let expression: NSRegularExpression
    private let written: String

    /// `written`: as tokenizer.json has it; `translated`: as ICU reads the same.
    init(_ translated: String, written: String) throws {
        self.written = written
        do {
            expression = try NSRegularExpression(pattern: translated)
        } catch {
            throw refused(written, "it is no pattern")
        }
    }

    /// Where it is found in a text of so many UTF-16 units. How long a stranger's pattern takes cannot be seen from it: the
    /// engine tells of every place that it has tried and of ten thousand steps at one, and after some more of these than
    /// there are places it is given up.
    func matches(_ text: String, _ length: Int) throws -> [Range<Int>] {
        var out: [Range<Int>] = []
        var left = LEAST + length
        var failed = false
        let options: NSRegularExpression.MatchingOptions = [.reportProgress, .withoutAnchoringBounds]
        expression.enumerateMatches(in: text, options: options, range: NSRange(0..<length)) { match, flags, stop in
            if flags.contains(.internalError) { failed = true } // its stack has a bound
            if let match {
                out.append(match.range.lowerBound..<match.range.upperBound)
                left += 1 // it begins anew there
            } else if flags.contains(.progress) {
                left -= 1
                failed = failed || left < 0
            }
            if failed { stop.pointee = true }
        }
        if failed { throw EdgeError("A pattern of tokenizer.json takes too long on this text: get the model's own.") }
        return out
    }
}

private let LEAST = 1000

func refused(_ pattern: String, _ problem: String) -> EdgeError {
    EdgeError("tokenizer.json has the pattern \(pattern.first(80)), which this app cannot use: \(problem).")
}

/// A pattern that finds a text as it is.
func literal(_ text: String) throws -> Pattern {
    try Pattern(NSRegularExpression.escapedPattern(for: text), written: text)
}
