/// GPT-2's table: printable Latin-1 stands for itself, other bytes for characters from U+0100 on.
enum ByteTable {
    private static let chars: Scalars = {
        var next: UInt32 = 0x100
        return (0..<256).map { byte in
            let itself = (0x21...0x7e).contains(byte) || (byte >= 0xa1 && byte != 0xad)
            defer { if !itself { next += 1 } }
            return Unicode.Scalar(itself ? UInt32(byte) : next) ?? " "
        }
    }()
    private static let values = Dictionary(uniqueKeysWithValues: zip(chars, 0...255))

    /// A character for each byte of a text in UTF-8.
    static func written(_ text: String) -> String { String(scalars: text.utf8.lazy.map { chars[Int($0)] }) }

    /// The bytes of a piece, or nil where a character of it stands for none.
    static func read(_ piece: String) -> [UInt8]? {
        var out: [UInt8] = []
        for char in piece.unicodeScalars {
            guard let byte = values[char] else { return nil }
            out.append(UInt8(byte))
        }
        return out
    }
}
