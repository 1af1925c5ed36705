/// What a JSON text holds. Whole numbers that fit are `whole`.
package enum Value {
    case null
    case flag(Bool)
    case whole(Int64)
    case number(Double)
    case text(String)
    case list([Value])
    case object(Members)
}

/// Names and their values, in the order of the file. No name is there twice.
package final class Members {
    package private(set) var names: [String] = []
    package private(set) var values: [Value] = []
    private var places: [Exact: Int32] = [:]

    package init() {}

    /// False where the name is there already.
    package func add(_ name: String, _ value: Value) -> Bool {
        guard places.updateValue(Int32(names.count), forKey: Exact(name)) == nil else { return false }
        names.append(name)
        values.append(value)
        return true
    }

    package func has(_ name: String) -> Bool { places[Exact(name)] != nil }

    package subscript(name: String) -> Value? { places[Exact(name)].map { values[Int($0)] } }
}

/// A value of a JSON file with the place where it stands, so that whoever asks for something else is told where.
package final class Json {
    private let parent: Json?
    private let label: String // a name, or "[3]"
    package let value: Value

    package init(_ value: Value, _ label: String, within parent: Json? = nil) {
        (self.value, self.label, self.parent) = (value, label, parent)
    }

    package subscript(name: String) -> Json {
        get throws { Json(try object()[name] ?? .null, name, within: self) }
    }

    /// This, or nil where the file has null or nothing.
    package var orNil: Json? {
        if case .null = value { nil } else { self }
    }

    package func text() throws -> String {
        guard case .text(let text) = value else { throw wrong("is no text") }
        return text
    }

    package func flag() throws -> Bool {
        guard case .flag(let flag) = value else { throw wrong("is neither true nor false") }
        return flag
    }

    package func number() throws -> Double {
        if case .whole(let whole) = value { return Double(whole) }
        guard case .number(let number) = value, number.isFinite else { throw wrong("is no number") }
        return number
    }

    package func whole(_ range: ClosedRange<Int>) throws -> Int {
        guard case .whole(let whole) = value, range.contains(Int(whole)) else {
            throw wrong("is no whole number of \(range.lowerBound)..\(range.upperBound)")
        }
        return Int(whole)
    }

    /// How many items a list has, of which at most so many are in use.
    package func count(most: Int = .max) throws -> Int {
        guard case .list(let list) = value else { throw wrong("is no list") }
        if list.count > most { throw wrong("has \(list.count) items, and at most \(most) are in use") }
        return list.count
    }

    package func items(most: Int = .max) throws -> [Json] {
        _ = try count(most: most)
        guard case .list(let list) = value else { return [] }
        return list.enumerated().map { Json($1, "[\($0)]", within: self) }
    }

    /// One item at a time: a vocabulary has hundreds of thousands.
    package func each(most: Int, _ body: (Int, Json) throws -> Void) throws {
        _ = try count(most: most)
        guard case .list(let list) = value else { return }
        for (at, item) in list.enumerated() { try body(at, Json(item, "[\(at)]", within: self)) }
    }

    package func object() throws -> Members {
        guard case .object(let members) = value else { throw wrong("is no object") }
        return members
    }

    /// Why this is refused: "app.json cannot be used: decoder.layers[3] is no object."
    package func wrong(_ problem: String) -> EdgeError {
        var path = ""
        var place = self
        while let outer = place.parent {
            let dot = outer.parent == nil || place.label.hasPrefix("[") ? "" : "."
            path = dot + place.label + path
            place = outer
        }
        return EdgeError("\(place.label) cannot be used: \(path.isEmpty ? "what it holds" : path.first(80)) \(problem).")
    }
}

extension Json {
    /// Bytes of memory that the values of a tokenizer.json may take: the largest vocabularies take a third of it.
    static let most = 512 << 20

    /// What a file holds. It is refused, with an `EdgeError` that names it, where it is no JSON, or where its values would
    /// take more than `most` bytes of memory.
    package static func read(_ bytes: @escaping Bytes, _ file: String, most: Int = most) throws -> Json {
        var reader = JsonReader(bytes, file, most)
        return Json(try reader.whole(), file)
    }

    package static func parse(_ text: String, _ file: String = "a text") throws -> Json { try parse(Array(text.utf8), file) }

    package static func parse(_ text: [UInt8], _ file: String = "a text") throws -> Json {
        var rest = text
        return try read({ defer { rest = [] }; return rest }, file)
    }
}
