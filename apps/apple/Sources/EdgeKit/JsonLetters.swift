@inline(__always)
func byte(_ letter: Unicode.Scalar) -> Int { Int(letter.value) }

func hex(_ one: Int) -> Int? {
    switch one {
    case 0x30...0x39: one - 0x30
    case 0x41...0x46: one - 0x41 + 10
    case 0x61...0x66: one - 0x61 + 10
    default: nil
    }
}

/// Whether this is -?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?
func isNumber(_ text: [UInt8]) -> Bool {
    var at = 0
    func peek() -> UInt8 { at < text.count ? text[at] : 0 }
    func digits() -> Bool {
        let start = at
        while (0x30...0x39).contains(peek()) { at += 1 }
        return at > start
    }
    if peek() == 0x2d { at += 1 }
    if peek() == 0x30 { at += 1 } else if !digits() { return false }
    if peek() == 0x2e {
        at += 1
        if !digits() { return false }
    }
    if peek() | 0x20 == 0x65 {
        at += 1
        if peek() == 0x2b || peek() == 0x2d { at += 1 }
        if !digits() { return false }
    }
    return at == text.count
}
