import Foundation

/// What a tokenizer does to a text before it splits it.
typealias Normalizer = (String) -> String

/// The normalizer that a tokenizer.json describes; what this app does not know is refused.
func normalizer(_ json: Json) throws -> Normalizer {
    if try growth(json) > Double(Tokenizer.growth) { throw json.wrong("makes a text too long") }
    return try step(json)
}

/// How many times as long it can make a text.
private func growth(_ json: Json) throws -> Double {
    guard json.orNil != nil else { return 1 }
    switch try json["type"].text() {
    case "Sequence":
        return try json["normalizers"].items(most: Tokenizer.steps).reduce(1) { try $0 * growth($1) }
    case "Prepend":
        return 1 + Double(try json["prepend"].text().utf8.count)
    case "Replace":
        let old = try needle(json["pattern"]).text.utf8.count
        return max(1, Double(try json["content"].text().utf8.count) / Double(max(1, old)))
    default:
        return 1
    }
}

private func step(_ json: Json) throws -> Normalizer {
    guard json.orNil != nil else { return { $0 } }
    let kind = try json["type"].text()
    switch kind {
    case "Sequence":
        let steps = try json["normalizers"].items(most: Tokenizer.steps).map(step)
        return { steps.reduce($0) { text, step in step(text) } }
    case "Prepend":
        let lead = try json["prepend"].text()
        return { $0.isEmpty ? $0 : lead + $0 }
    case "Replace":
        let content = try json["content"].text()
        let old = try needle(json["pattern"])
        if old.isRegex { throw json.wrong("replaces by a regular expression, which this app does not") }
        if old.text.isEmpty { throw json.wrong("replaces nothing by something") }
        return { $0.replaced(old.text, by: content) }
    case "NFC": return { $0.precomposedStringWithCanonicalMapping }
    case "NFD": return { $0.decomposedStringWithCanonicalMapping }
    case "NFKC": return { $0.precomposedStringWithCompatibilityMapping }
    case "NFKD": return { $0.decomposedStringWithCompatibilityMapping }
    default: throw json.wrong("is a normalizer of the kind \(kind.first(20)), which this app does not know")
    }
}

/// A pattern as tokenizer.json writes it, and whether it is a regular expression.
func needle(_ json: Json) throws -> (text: String, isRegex: Bool) {
    if let plain = try json["String"].orNil { return (try plain.text(), false) }
    return (try json["Regex"].text(), true)
}
