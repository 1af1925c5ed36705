/// One JSON text: strict (RFC 8259), and within bounds.
///
/// A file of a stranger may hold millions of empty lists in a few megabytes. So what the values will take in memory is
/// counted while they are read, and more than `most` bytes are refused before they are there.
struct JsonReader {
    private let more: Bytes
    private let name: String
    private let most: Int
    private var buffer: [UInt8] = []
    private var at = 0
    private var taken = 0
    private var string = Utf8Builder() // the one that is read

    init(_ more: @escaping Bytes, _ name: String, _ most: Int) { (self.more, self.name, self.most) = (more, name, most) }

    mutating func whole() throws -> Value {
        let value = try self.value(0)
        if try blank() != END { throw wrong("something follows its end") }
        return value
    }

    private mutating func value(_ depth: Int) throws -> Value {
        if depth > DEEPEST { throw wrong("it is nested deeper than \(DEEPEST) levels") }
        switch try blank() {
        case byte("{"): return .object(try members(depth))
        case byte("["): return .list(try items(depth))
        case byte("\""): return .text(try text())
        case byte("t"): return try word("true", .flag(true))
        case byte("f"): return try word("false", .flag(false))
        case byte("n"): return try word("null", .null)
        case byte("-"), byte("0")...byte("9"): return try number()
        default: throw wrong("a value is missing")
        }
    }

    private mutating func members(_ depth: Int) throws -> Members {
        try take(256)
        let members = Members()
        try next()
        if try blank() == byte("}") {
            try next()
            return members
        }
        repeat {
            if try blank() != byte("\"") { throw wrong("a name is missing") }
            let key = try text()
            try take(128)
            if try blank() != byte(":") { throw wrong("a colon is missing") }
            try next()
            if members.has(key) { throw wrong("it has the name \(key.first(40)) twice") }
            _ = members.add(key, try value(depth + 1))
        } while try another("}")
        return members
    }

    private mutating func items(_ depth: Int) throws -> [Value] {
        try take(64)
        var list: [Value] = []
        try next()
        if try blank() == byte("]") {
            try next()
            return list
        }
        repeat {
            try take(48) // an array grows by doubling
            list.append(try value(depth + 1))
        } while try another("]")
        return list
    }

    /// After a value: whether another one follows, past its comma.
    private mutating func another(_ close: Unicode.Scalar) throws -> Bool {
        let mark = try blank()
        if mark != byte(close) && mark != byte(",") { throw wrong("a comma or a \(close) is missing") }
        try next()
        return mark == byte(",")
    }

    private mutating func text() throws -> String {
        try next()
        while true {
            let one = try next()
            if one == byte("\"") { break }
            if one == byte("\\") { try escaped() } else if one >= 0x20 { string.add(UInt8(one)) } else if one == END {
                throw wrong("it ends within a string")
            } else { throw wrong("a string holds a control character") }
            if string.size & 0xfff == 0 { try check(taken + 2 * string.size) }
        }
        try take(48 + 2 * string.size)
        guard let text = string.text() else { throw wrong("a string is not UTF-8") }
        return text
    }

    private mutating func escaped() throws {
        switch try next() {
        case byte("\""): string.add(0x22)
        case byte("\\"): string.add(0x5c)
        case byte("/"): string.add(0x2f)
        case byte("b"): string.add(0x08)
        case byte("f"): string.add(0x0c)
        case byte("n"): string.add(0x0a)
        case byte("r"): string.add(0x0d)
        case byte("t"): string.add(0x09)
        case byte("u"):
            var unit = 0
            for _ in 0..<4 {
                guard let digit = hex(try next()) else { throw wrong("a \\u has no four digits") }
                unit = unit * 16 + digit
            }
            string.add(unit: UInt16(unit))
        default: throw wrong("a string holds an unknown escape")
        }
    }

    private mutating func number() throws -> Value {
        var text = ""
        while let letter = Unicode.Scalar(UInt32(max(0, try peek()))), "0123456789+-.eE".unicodeScalars.contains(letter) {
            text.unicodeScalars.append(letter)
            try next()
            if text.utf8.count > 64 { throw wrong("a number is too long") }
        }
        guard isNumber(Array(text.utf8)) else { throw wrong("\(text) is no number") }
        if let whole = Int64(text) { return .whole(whole) }
        return .number(Double(text) ?? .infinity)
    }

    private mutating func word(_ word: String, _ value: Value) throws -> Value {
        for letter in word.utf8 where try next() != Int(letter) { throw wrong("a value is missing") }
        return value
    }

    /// The next byte that is no blank, not yet taken.
    private mutating func blank() throws -> Int {
        while true {
            let one = try peek()
            if one != 0x20 && one != 0x0a && one != 0x09 && one != 0x0d { return one }
            at += 1
        }
    }

    @discardableResult
    private mutating func next() throws -> Int {
        let one = try peek()
        if one != END { at += 1 }
        return one
    }

    private mutating func peek() throws -> Int {
        if at == buffer.count {
            (buffer, at) = (try more(), 0)
            if buffer.isEmpty { return END }
        }
        return Int(buffer[at])
    }

    private mutating func take(_ bytes: Int) throws {
        taken += bytes
        try check(taken)
    }

    private func check(_ bytes: Int) throws {
        if bytes > most { throw EdgeError("\(name) holds more than this app has memory for.") }
    }

    private func wrong(_ problem: String) -> EdgeError { EdgeError("\(name) is not valid JSON: \(problem).") }
}

private let DEEPEST = 64
private let END = -1
