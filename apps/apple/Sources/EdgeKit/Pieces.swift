/// Takes the vocabulary's pieces one by one and gives text as soon as it is certain.
protocol Pieces {
    mutating func feed(_ piece: String) -> String

    /// What was held back.
    mutating func finish() -> String
}

/// Each character of a piece stands for one byte; UTF-8 may span pieces.
struct BytePieces: Pieces {
    private var held: [UInt8] = [] // the beginning of a character

    mutating func feed(_ piece: String) -> String {
        // An added token may hold characters outside the table: it is plain text.
        let bytes = held + (ByteTable.read(piece) ?? Array(piece.utf8))
        held = Array(bytes.suffix(unfinished(bytes)))
        return String(decoding: bytes.dropLast(held.count), as: UTF8.self)
    }

    mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }
}

/// Pieces are text with a stand-in for the blank; rare characters are runs of `<0xNN>` pieces. A run is decoded as a whole:
/// one wrong byte turns all of it into U+FFFD, so it is held until it ends.
struct SentencePieces: Pieces {
    let replaced: [(old: String, new: String)]
    /// What stands at the start of a text and is dropped there, so many times.
    var strip: (blank: String, count: Int)
    let fallback: Bool
    private var run: [UInt8] = []

    init(_ replaced: [(old: String, new: String)], _ strip: (blank: String, count: Int), fallback: Bool) {
        (self.replaced, self.strip, self.fallback) = (replaced, strip, fallback)
    }

    mutating func feed(_ piece: String) -> String {
        let text = replaced.reduce(piece) { $0.replaced($1.old, by: $1.new) }
        if fallback, let byte = byte(text) {
            run.append(byte)
            return ""
        }
        return stripped(ended() + text)
    }

    mutating func finish() -> String { stripped(ended()) }

    private mutating func ended() -> String {
        defer { run = [] }
        return utf8(run) ?? String(repeating: "\u{fffd}", count: run.count)
    }

    private mutating func stripped(_ text: String) -> String {
        var left = Substring(text)
        while strip.count > 0 && !left.isEmpty {
            if !strip.blank.isEmpty && left.utf8.starts(with: strip.blank.utf8) {
                left = Substring(left.unicodeScalars.dropFirst(strip.blank.unicodeScalars.count))
                strip.count -= 1
            } else {
                strip.count = 0
            }
        }
        return String(left)
    }
}

/// The byte that a piece like <0x0A> stands for.
private func byte(_ piece: String) -> UInt8? {
    let text = Array(piece.utf8)
    guard text.count == 6, piece.begins("<0x"), text[5] == UInt8(ascii: ">"), text[3] >= 0x30 else { return nil }
    return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
}
