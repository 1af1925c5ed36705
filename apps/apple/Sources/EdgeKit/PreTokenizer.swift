import Foundation

/// A part of a text; `first`: whether the text begins with it.
struct Part {
    let text: String
    let first: Bool
}

/// Splits parts of a text into what merges never cross.
typealias PreTokenizer = ([Part]) throws -> [Part]

/// The pre-tokenizer that a tokenizer.json describes; what this app does not know is refused.
func preTokenizer(_ json: Json) throws -> PreTokenizer {
    guard json.orNil != nil else { return { $0 } }
    let kind = try json["type"].text()
    switch kind {
    case "Sequence":
        let steps = try json["pretokenizers"].items(most: Tokenizer.steps).map(preTokenizer)
        return { try steps.reduce($0) { parts, step in try step(parts) } }
    case "ByteLevel": return try byteLevel(json)
    case "Split": return try split(json)
    case "Digits":
        return splitter(try pattern("\\p{N}"), try json["individual_digits"].flag() ? .isolated : .contiguous)
    case "Metaspace": return try metaspace(json)
    default: throw json.wrong("is a pre-tokenizer of the kind \(kind.first(20)), which this app does not know")
    }
}

private func byteLevel(_ json: Json) throws -> PreTokenizer {
    let leads = try json["add_prefix_space"].flag()
    let words = try json["use_regex"].orNil?.flag() ?? true ? splitter(try pattern(GPT2), .isolated) : { $0 }
    return { parts in
        let whole = parts.map { Part(text: leads && !$0.text.begins(" ") ? " " + $0.text : $0.text, first: $0.first) }
        return try words(whole).map { Part(text: ByteTable.written($0.text), first: $0.first) }
    }
}

private func split(_ json: Json) throws -> PreTokenizer {
    let needle = try needle(json["pattern"])
    if needle.text.isEmpty { throw json.wrong("splits at nothing") }
    let behavior = try json["behavior"].text()
    guard let known = Behavior(rawValue: behavior) else {
        throw json.wrong("splits with the behavior \(behavior.first(20)), which this app does not know")
    }
    let pattern = needle.isRegex ? try pattern(needle.text) : try literal(needle.text)
    return splitter(pattern, known, invert: try json["invert"].orNil?.flag() ?? false)
}

private func metaspace(_ json: Json) throws -> PreTokenizer {
    let blank = try json["replacement"].text()
    let scheme = try json["prepend_scheme"].orNil?.text() ?? "always"
    if !["always", "first", "never"].contains(scheme) {
        throw json.wrong("prepends \(scheme.first(20)), which this app does not know")
    }
    if blank.unicodeScalars.count != 1 { throw json.wrong("has a replacement that is not one character") }
    let words = try json["split"].orNil?.flag() ?? true ? splitter(try literal(blank), .mergedWithNext) : { $0 }
    return { parts in
        try words(parts.map { part in
            let text = part.text.replaced(" ", by: blank)
            let leads = (scheme == "always" || (scheme == "first" && part.first)) && !text.begins(blank)
            return Part(text: leads ? blank + text : text, first: part.first)
        })
    }
}

private enum Behavior: String {
    case isolated = "Isolated", removed = "Removed", contiguous = "Contiguous"
    case mergedWithPrevious = "MergedWithPrevious", mergedWithNext = "MergedWithNext"

    /// Whether two neighbours, each a match or not, stay together.
    func joins(_ a: Bool, _ b: Bool) -> Bool {
        switch self {
        case .isolated, .removed: false
        case .contiguous: a == b
        case .mergedWithPrevious: !a && b
        case .mergedWithNext: a && !b
        }
    }
}

private func splitter(_ pattern: Pattern, _ behavior: Behavior, invert: Bool = false) -> PreTokenizer {
    { parts in
        try parts.flatMap { part in
            let units = Array(part.text.utf16) // by which patterns count
            var cuts = try cuts(pattern, part.text, units.count, invert)
            cuts = behavior == .removed ? cuts.filter { !$0.matched } : joined(cuts, behavior)
            return cuts.filter { !$0.range.isEmpty }.map { cut in
                let text = String(decoding: units[cut.range], as: UTF16.self)
                return Part(text: text, first: part.first && cut.range.lowerBound == 0)
            }
        }
    }
}

private struct Cut {
    var range: Range<Int>
    let matched: Bool
}

/// A text cut at all starts and ends of what a pattern finds.
private func cuts(_ pattern: Pattern, _ text: String, _ length: Int, _ invert: Bool) throws -> [Cut] {
    var out: [Cut] = []
    var done = 0
    for match in try pattern.matches(text, length) {
        if match.lowerBound > done { out.append(Cut(range: done..<match.lowerBound, matched: invert)) }
        out.append(Cut(range: match, matched: !invert))
        done = match.upperBound
    }
    if done < length { out.append(Cut(range: done..<length, matched: invert)) }
    return out
}

private func joined(_ cuts: [Cut], _ behavior: Behavior) -> [Cut] {
    var out: [Cut] = []
    var before: Bool? // of the cut itself, not of what it was joined to
    for cut in cuts {
        if let before, let last = out.last, behavior.joins(before, cut.matched) {
            out[out.count - 1] = Cut(range: last.range.lowerBound..<cut.range.upperBound, matched: cut.matched)
        } else {
            out.append(cut)
        }
        before = cut.matched
    }
    return out
}

private let GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
