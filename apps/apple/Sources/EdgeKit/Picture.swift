import Foundation

/// A picture as it is to be seen: red, green and blue of 8 bits each, row by row.
public struct Picture: Sendable, Equatable {
    public let width, height: Int
    public let rgb: [UInt8]

    public init(width: Int, height: Int, rgb: [UInt8]) throws {
        try Picture.check(width, height)
        if rgb.count != 3 * width * height { throw EdgeError("The picture is cut off: get the file again.") }
        (self.width, self.height, self.rgb) = (width, height, rgb)
    }

    /// Refuse what would take much memory, here or once it is cut into tiles.
    static func check(_ width: Int, _ height: Int) throws {
        let (short, long) = (min(width, height), max(width, height))
        if short < 1 || long > SIDE || width * height > PIXELS {
            throw EdgeError("The picture has \(width) x \(height) pixels: make it smaller.")
        }
        if long > RATIO * short { throw EdgeError("One side of the picture is more than \(RATIO) times the other: crop it first.") }
    }

    /// A PPM file of bytes (P6).
    package init(ppm bytes: Bytes) throws {
        var content: [UInt8] = []
        while true {
            let part = try bytes()
            if part.isEmpty { break }
            content += part
            if content.count > 3 * PIXELS + HEAD { throw EdgeError("The picture is too large: make it smaller.") }
        }
        guard content.starts(with: [0x50, 0x36]) else { throw EdgeError("The picture is no PPM file of bytes, which begins with P6.") }
        var at = 2
        let numbers = try (0..<3).map { _ in try number(content, &at) }
        if numbers[2] != 255 { throw EdgeError("The picture has colours up to \(numbers[2]), and 255 is read.") }
        try Picture.check(numbers[0], numbers[1])
        try self.init(
            width: numbers[0], height: numbers[1],
            rgb: Array(content.dropFirst(at + 1).prefix(3 * numbers[0] * numbers[1]))) // one blank ends the head
    }
}

private let SIDE = 1 << 15
private let PIXELS = 64 << 20
private let RATIO = 200
private let HEAD = 1 << 12

/// The next number of a PPM's head, after blanks and comments.
private func number(_ content: [UInt8], _ at: inout Int) throws -> Int {
    var comment = false
    while at < content.count, comment || [0x20, 0x09, 0x0a, 0x0d, 0x23].contains(content[at]) {
        comment = content[at] == 0x23 || (comment && content[at] != 0x0a)
        at += 1
    }
    var found = 0
    let start = at
    while at < content.count, (0x30...0x39).contains(content[at]), found <= SIDE {
        found = found * 10 + Int(content[at] - 0x30)
        at += 1
    }
    if at == start { throw EdgeError("The picture's head is broken: get the file again.") }
    return found
}
