import EdgeKit
import Foundation

/// What the toolkit itself gives: apps/golden/make.py wrote it.
struct Golden {
    let folder: URL

    func of(_ name: String) throws -> Json { try json(folder.appendingPathComponent("\(name).json")) }
}

func json(_ file: URL) throws -> Json { try Json.read(bytes(of: file), file.lastPathComponent) }

extension Json {
    func ids() throws -> [Int] { try items().map { try $0.whole(0...Int.max) } }

    func floats() throws -> [Float] { try items().map { Float(try $0.number()) } }

    func texts() throws -> [String] { try items().map { try $0.text() } }

    /// The same, with some of its fields changed.
    func changed(_ fields: [(String, Value)]) throws -> Json { Json(try value.changed(fields), "tokenizer.json") }
}

extension Value: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .text(value) }
    package init(booleanLiteral value: Bool) { self = .flag(value) }
    package init(integerLiteral value: Int64) { self = .whole(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(arrayLiteral elements: Value...) { self = .list(elements) }
    package init(nilLiteral: ()) { self = .null }

    package init(dictionaryLiteral elements: (String, Value)...) {
        let members = Members()
        for (name, value) in elements { _ = members.add(name, value) }
        self = .object(members)
    }

    func changed(_ fields: [(String, Value)]) throws -> Value {
        guard case .object(let old) = self else { throw Wrong(description: "no object is changed") }
        let members = Members()
        for (name, value) in fields { _ = members.add(name, value) }
        for (name, value) in zip(old.names, old.values) where !members.has(name) { _ = members.add(name, value) }
        return .object(members)
    }

    /// Written as JSON again.
    var written: String {
        switch self {
        case .null: "null"
        case .flag(let flag): "\(flag)"
        case .whole(let whole): "\(whole)"
        case .number(let number): "\(number)"
        case .list(let list): "[\(list.map(\.written).joined(separator: ","))]"
        case .object(let members):
            "{\(zip(members.names, members.values).map { "\(Value.text($0).written):\($1.written)" }.joined(separator: ","))}"
        case .text(let text): "\"\(text.unicodeScalars.map(escaped).joined())\""
        }
    }
}

private func escaped(_ char: Unicode.Scalar) -> String {
    if char.value >= 0x20 && char != "\"" && char != "\\" { return String(char) }
    let digits = String(char.value, radix: 16)
    return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
}
