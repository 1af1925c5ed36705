import Foundation

/// Patterns of a tokenizer.json are Oniguruma's. This writes one anew so that ICU's engine, which reads the same letters
/// differently, finds what Oniguruma finds; what cannot be written so is refused.
///
/// So `\s` becomes the blanks one by one, a dot passes all but a line feed, and `^` and `$` stand at every line. A quantity
/// with a plus behind it is refused: to ICU it is possessive.
func pattern(_ oniguruma: String) throws -> Pattern {
    var translation = Translation(oniguruma)
    return try Pattern(try translation.whole(), written: oniguruma)
}

private struct Translation {
    private let source: String
    private let pattern: Scalars
    private var out = ""
    private var at = 0
    private var classes = 0 // open brackets

    init(_ source: String) { (self.source, pattern) = (source, source.scalars) }

    mutating func whole() throws -> String {
        while let char = peek() {
            at += 1
            try step(char)
        }
        return out
    }

    private mutating func step(_ char: Unicode.Scalar) throws {
        switch char {
        case "\\": try escape()
        case "[": try open()
        case "]" where classes > 0:
            classes -= 1
            put("]")
        case _ where classes > 0: try inClass(char)
        case "(": try group()
        case ")": try closed()
        case ".": put("[^\\n]")
        case "^": put("(?<![^\\n])")
        case "$": put("(?![^\\n])")
        case "{": try quantity()
        case "}", "]": put("\\\(char)")
        default: put("\(char)")
        }
    }

    private mutating func open() throws {
        if peek() == ":" && classes > 0 { throw refuse("it has a POSIX class") }
        classes += 1
        put("[")
        if peek() == "^" {
            at += 1
            put("^")
        }
        if peek() == "]" { throw refuse("it has an empty class") }
    }

    private mutating func inClass(_ char: Unicode.Scalar) throws {
        if "&-".unicodeScalars.contains(char) && peek() == char { throw refuse("it intersects classes") }
        put("&#~ {}$".unicodeScalars.contains(char) ? "\\x{\(String(char.value, radix: 16))}" : "\(char)")
    }

    private mutating func group() throws {
        put("(")
        if peek() != "?" { return }
        guard let kind = GROUPS.first(where: { pattern[at...].starts(with: $0.unicodeScalars) }) else {
            throw refuse("it has a group of an unknown kind")
        }
        put(kind)
        at += kind.unicodeScalars.count
    }

    /// A group that is repeated without end may be tried in more ways than there is time for, each on more of the stack.
    private mutating func closed() throws {
        put(")")
        if peek() == "*" || peek() == "+" || quantity(at: at)?.hasSuffix(",}") == true { throw refuse("it repeats a group") }
    }

    private mutating func quantity() throws {
        guard let found = quantity(at: at - 1) else { return put("\\{") }
        at += found.unicodeScalars.count - 1
        if found.hasPrefix("{,") { throw refuse("it has a quantity without a beginning") }
        if peek() == "+" { throw refuse("it repeats a quantity") }
        put(found)
    }

    /// `{1}`, `{1,}`, `{1,2}` or `{,2}`, where one begins there.
    private func quantity(at start: Int) -> String? {
        guard start < pattern.count, pattern[start] == "{", let end = pattern[start...].firstIndex(of: "}") else { return nil }
        let parts = pattern[(start + 1)..<end].split(separator: ",", omittingEmptySubsequences: false)
        let digits = parts.allSatisfy { $0.allSatisfy { ("0"..."9").contains($0) } }
        let empty = parts.filter(\.isEmpty).count
        return digits && parts.count <= 2 && empty < parts.count ? String(scalars: pattern[start...end]) : nil
    }

    private mutating func escape() throws {
        guard let letter = peek() else { throw refuse("it ends with a backslash") }
        at += 1
        switch letter {
        case "s", "d": set(CLASSES[letter] ?? "", not: false)
        case "S", "D": set(CLASSES[letter == "S" ? "s" : "d"] ?? "", not: true)
        case "p", "P": try property(not: letter == "P")
        case "u", "x": put("\\x{\(String(try code(letter), radix: 16))}")
        case "r", "n", "t", "f", "A", "z": put("\\\(letter)")
        case "v": put("\\x{b}")
        case _ where !letter.properties.isAlphabetic && letter.properties.numericType == nil: put("\\\(letter)")
        default: throw refuse("it has \\\(letter)")
        }
    }

    private mutating func set(_ inside: String, not: Bool) {
        put(not ? "[^\(inside)]" : classes > 0 ? inside : "[\(inside)]")
    }

    private mutating func property(not: Bool) throws {
        guard peek() == "{", let end = pattern[at...].firstIndex(of: "}") else { throw refuse("it has a property without braces") }
        var name = String(scalars: pattern[(at + 1)..<end])
        at = end + 1
        let negated = not != name.hasPrefix("^")
        if name.hasPrefix("^") { name.removeFirst() }
        guard let known = PROPERTIES[name.lowercased()] else { throw refuse("it has the property \(name.first(20))") }
        put("\\\(negated ? "P" : "p"){\(known)}")
    }

    private mutating func code(_ letter: Unicode.Scalar) throws -> UInt32 {
        let braced = letter == "x" && peek() == "{"
        let start = braced ? at + 1 : at
        var end = min(start + (letter == "u" ? 4 : 2), pattern.count)
        if braced { end = pattern[start...].firstIndex(of: "}") ?? start }
        let digits = String(scalars: pattern[start..<end])
        at = braced ? end + 1 : end
        let right = letter == "u" ? digits.utf8.count == 4 : (1...6).contains(digits.utf8.count)
        guard right, digits.utf8.first != 0x2b, let value = UInt32(digits, radix: 16), Unicode.Scalar(value) != nil else {
            throw refuse("it has a character of a wrong number")
        }
        return value
    }

    private func peek() -> Unicode.Scalar? { at < pattern.count ? pattern[at] : nil }

    private mutating func put(_ text: String) { out += text }

    private func refuse(_ problem: String) -> EdgeError { refused(source, problem) }
}

private let GROUPS = ["?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"]
private let CLASSES: [Unicode.Scalar: String] = [
    "s": "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}",
    "d": "\\p{Nd}",
]
private let CATEGORIES = "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf"
private let SCRIPTS = "Han Hiragana Katakana Hangul Latin Cyrillic Greek Arabic Hebrew Thai Devanagari"
private let PROPERTIES: [String: String] = {
    var all: [String: String] = [:]
    for name in CATEGORIES.split(separator: " ") { all[name.lowercased()] = String(name) }
    for name in SCRIPTS.split(separator: " ") { all[name.lowercased()] = "script=\(name)" }
    return all
}()
