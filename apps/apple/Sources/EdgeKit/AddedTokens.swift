/// A token that is found in a text as a whole, before anything else happens to it.
final class AddedToken {
    let id: Int
    let content: String
    let special: Bool
    let normalized: Bool
    let word: Bool // not within a longer word
    let left: Bool // takes the blanks before it
    let right: Bool // and those after it

    init(_ json: Json) throws {
        id = try json["id"].whole(0...(1 << 22))
        content = try json["content"].text()
        special = try json["special"].orNil?.flag() ?? false
        normalized = try json["normalized"].orNil?.flag() ?? !special
        word = try json["single_word"].orNil?.flag() ?? false
        left = try json["lstrip"].orNil?.flag() ?? false
        right = try json["rstrip"].orNil?.flag() ?? false
        if content.isEmpty { throw json.wrong("is an empty token") }
    }
}

/// A stretch of a text, which is a token where `id` is one.
struct Stretch {
    let range: Range<Int>
    let id: Int?
}

/// Finds tokens in a text: the leftmost first, and of those the longest.
struct Finder {
    private let root = Node()

    /// `spelled`: tokens by how a text has them; of two alike, the first is found.
    init(_ spelled: [(String, AddedToken)]) {
        for (text, token) in spelled {
            var node = root
            for char in text.unicodeScalars { node = node.following(char) }
            if node.token == nil { node.token = token }
        }
    }

    /// All of a text, in order.
    func stretches(_ text: Scalars) -> [Stretch] {
        var out: [Stretch] = []
        var done = 0
        var at = 0
        while at < text.count {
            guard let (token, end) = longest(text, at) else {
                at += 1
                continue
            }
            if token.word && (inWord(text, at - 1) || inWord(text, end)) {
                at = end
                continue
            }
            var (start, stop) = (at, end)
            if token.left { while start > done, isBlank(text[start - 1]) { start -= 1 } }
            if token.right { while stop < text.count, isBlank(text[stop]) { stop += 1 } }
            start = max(start, done)
            if done < start { out.append(Stretch(range: done..<start, id: nil)) }
            out.append(Stretch(range: start..<max(start, stop), id: token.id))
            done = max(start, stop)
            at = end
        }
        if done < text.count { out.append(Stretch(range: done..<text.count, id: nil)) }
        return out
    }

    private func longest(_ text: Scalars, _ start: Int) -> (AddedToken, Int)? {
        var found: (AddedToken, Int)?
        var node = root
        var at = start
        while at < text.count, let next = node.next[text[at]] {
            at += 1
            node = next
            if let token = node.token { found = (token, at) }
        }
        return found
    }

    /// Whether the code point there is part of a word.
    private func inWord(_ text: Scalars, _ at: Int) -> Bool {
        guard text.indices.contains(at) else { return false }
        switch text[at].properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
        case .decimalNumber, .letterNumber, .nonspacingMark, .enclosingMark, .spacingMark, .connectorPunctuation: return true
        default: return false
        }
    }
}

private final class Node {
    var next: [Unicode.Scalar: Node] = [:]
    var token: AddedToken?

    func following(_ char: Unicode.Scalar) -> Node {
        if let known = next[char] { return known }
        let made = Node()
        next[char] = made
        return made
    }
}
