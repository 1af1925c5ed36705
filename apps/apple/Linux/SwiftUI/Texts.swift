import Foundation

/// A text of the user's language: written in the code in English, and found in a string catalogue by that.
public struct LocalizedStringKey: ExpressibleByStringInterpolation {
    private let key: StringInterpolation

    public init(stringLiteral value: String) {
        key = StringInterpolation(literalCapacity: 0, interpolationCount: 0)
        key.add(value)
    }

    public init(stringInterpolation: StringInterpolation) { key = stringInterpolation }

    var text: String { filled(Catalogue.shared.text(key.key), key.values) }

    public final class StringInterpolation: StringInterpolationProtocol {
        private(set) var key = ""
        private(set) var values: [String] = []

        public init(literalCapacity: Int, interpolationCount: Int) {}
        public func appendLiteral(_ literal: String) { add(literal.replacingOccurrences(of: "%", with: "%%")) }
        public func appendInterpolation(_ value: String) { add("%@", value) }
        public func appendInterpolation(_ value: Int) { add("%lld", "\(value)") }
        public func appendInterpolation(_ value: Double, specifier: String) { add(specifier, String(format: specifier, value)) }

        func add(_ part: String, _ value: String? = nil) {
            key += part
            if let value { values.append(value) }
        }
    }
}

/// What Xcode makes of a string catalogue: texts by their English, in one language.
final class Catalogue: @unchecked Sendable {
    static let shared = Catalogue()
    private var texts: [String: String]?

    func load(_ file: String, _ language: String) throws {
        struct File: Decodable { let strings: [String: Entry] }
        struct Entry: Decodable { let localizations: [String: Text] }
        struct Text: Decodable { let stringUnit: Unit }
        struct Unit: Decodable { let value: String }
        let found = try JSONDecoder().decode(File.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
        texts = found.strings.compactMapValues { $0.localizations[language]?.stringUnit.value }
    }

    func text(_ key: String) -> String {
        guard let texts else { return key }
        return texts[key] ?? "is not in the catalogue: \(key)"
    }
}

/// Values in the places that a format has for them, by order or by number: %@, %1$@, %lld, %.1f.
private func filled(_ format: String, _ values: [String]) -> String {
    var (out, next) = ("", 0)
    var rest = Substring(format)
    while let sign = rest.firstIndex(of: "%") {
        out += rest[..<sign]
        rest = rest[rest.index(after: sign)...]
        if rest.first == "%" {
            out += "%"
            rest.removeFirst()
            continue
        }
        let end = rest.firstIndex { "@df".contains($0) } ?? rest.index(before: rest.endIndex)
        let number = rest[...end].split(separator: "$").first.flatMap { rest[...end].contains("$") ? Int($0) : nil }
        let place = number.map { $0 - 1 } ?? next
        out += values.indices.contains(place) ? values[place] : "?"
        (rest, next) = (rest[rest.index(after: end)...], next + 1)
    }
    return out + rest
}
