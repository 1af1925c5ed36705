/// A text that equals another only where both have the same code points: to Swift's own strings an "é" of one code point
/// and one of two are alike, and to a vocabulary they are two pieces.
struct Exact: Hashable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (a: Exact, b: Exact) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

    func hash(into hasher: inout Hasher) {
        if text.utf8.withContiguousStorageIfAvailable({ hasher.combine(bytes: UnsafeRawBufferPointer($0)) }) == nil {
            hasher.combine(bytes: Array(text.utf8))
        }
        hasher.combine(UInt8(0xff))
    }
}

private extension Hasher {
    mutating func combine(bytes: [UInt8]) { bytes.withUnsafeBytes { combine(bytes: $0) } }
}

/// Code points, and the text of some of them: grapheme clusters, which Swift counts by, have no part in tokens.
typealias Scalars = [Unicode.Scalar]

extension String {
    var scalars: Scalars { Array(unicodeScalars) }

    init(scalars: some Sequence<Unicode.Scalar>) {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        self.init(view)
    }

    /// The first code points, for a message.
    package func first(_ count: Int) -> String { String(scalars: unicodeScalars.prefix(count)) }

    func begins(_ other: String) -> Bool { utf8.starts(with: other.utf8) }

    /// Each `old`, which is not empty, from the left.
    func replaced(_ old: String, by new: String) -> String {
        let (text, old, new) = (Array(utf8), Array(old.utf8), Array(new.utf8))
        guard let lead = old.first, text.contains(lead) else { return self }
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        var at = 0
        while at < text.count {
            if text[at] == lead, text.count - at >= old.count, text[at..<at + old.count].elementsEqual(old) {
                out += new
                at += old.count
            } else {
                out.append(text[at])
                at += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

/// White space as Unicode has it.
func isBlank(_ char: Unicode.Scalar) -> Bool {
    switch char.value {
    case 0x09...0x0d, 0x20, 0x85, 0xa0, 0x1680, 0x2000...0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000: true
    default: false
    }
}
