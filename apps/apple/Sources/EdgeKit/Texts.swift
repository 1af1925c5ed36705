import Foundation

/// A text that was picked: refused where it is none, or longer than any model here reads.
public func document(_ file: URL) throws -> Document {
    let (name, next) = (file.lastPathComponent, try bytes(of: file))
    var all: [UInt8] = []
    while true {
        let part = try next()
        if part.isEmpty { break }
        all += part
        if all.count > LONGEST { throw EdgeError("\(name.first(60)) has more than \(LONGEST >> 20) MB: choose a shorter text.") }
    }
    if all.starts(with: [0xef, 0xbb, 0xbf]) { all.removeFirst(3) } // a mark of some editors
    guard let text = utf8(all), !all.contains(0) else { throw EdgeError("\(name.first(60)) is no text in UTF-8.") }
    if trimmed(text).isEmpty { throw EdgeError("\(name.first(60)) is empty.") }
    return Document(name: name, text: text)
}

private let LONGEST = 4 << 20
