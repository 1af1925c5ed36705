/// Bytes of a text in UTF-8, and UTF-16 units that escapes spell: half of a surrogate pair alone is no text.
struct Utf8Builder {
    private var bytes: [UInt8] = []
    private var high: UInt16 = 0 // of a surrogate pair whose second half must come next

    var size: Int { bytes.count }

    mutating func add(_ byte: UInt8) {
        if high != 0 { bytes.append(WRONG) }
        high = 0
        bytes.append(byte)
    }

    mutating func add(unit: UInt16) {
        if high != 0 {
            if UTF16.isTrailSurrogate(unit) { put([high, unit]) } else { bytes.append(WRONG) }
            high = 0
        } else if UTF16.isLeadSurrogate(unit) {
            high = unit
        } else if UTF16.isTrailSurrogate(unit) {
            bytes.append(WRONG)
        } else {
            put([unit])
        }
    }

    /// The text, or nil where it is none; and begin another one.
    mutating func text() -> String? {
        defer {
            bytes.removeAll(keepingCapacity: true)
            high = 0
        }
        return high == 0 ? utf8(bytes) : nil
    }

    private mutating func put(_ units: [UInt16]) { bytes += String(decoding: units, as: UTF16.self).utf8 }
}

private let WRONG: UInt8 = 0xff // stands in no UTF-8, so that the whole is refused

/// The text of these bytes, or nil where they are not UTF-8.
func utf8(_ bytes: [UInt8]) -> String? { String(validating: bytes, as: UTF8.self) }

/// How many of the last bytes may be the beginning of a character that goes on.
func unfinished(_ bytes: [UInt8]) -> Int {
    for back in 1...3 where back <= bytes.count {
        let lead = bytes[bytes.count - back]
        if lead & 0xc0 == 0x80 { continue } // within a character
        let length = switch lead {
        case 0xc2...0xdf: 2
        case 0xe0...0xef: 3
        case 0xf0...0xf4: 4
        default: 0
        }
        if back >= length { return 0 }
        let second = back > 1 ? bytes[bytes.count - back + 1] : 0x80
        return back == 1 || follows(second, lead) ? back : 0
    }
    return 0
}

/// Whether a byte may be the second one after a lead: some would be too long, too high, or half of a surrogate pair.
private func follows(_ second: UInt8, _ lead: UInt8) -> Bool {
    switch lead {
    case 0xe0: second >= 0xa0
    case 0xed: second < 0xa0
    case 0xf0: second >= 0x90
    case 0xf4: second < 0x90
    default: true
    }
}
