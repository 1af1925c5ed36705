/// Which two neighbouring pieces become which one, and which of them first.
struct Merges {
    /// A rank in the upper half, and the id of what is made in the lower.
    private var ranks: [UInt64: UInt64] = [:]

    init(_ json: Json, _ vocabulary: Vocabulary) throws {
        ranks.reserveCapacity(try json.count(most: 1 << 22))
        try json.each(most: 1 << 22) { rank, item in
            let (left, right) = try pair(item)
            func id(_ piece: String) throws -> Int {
                guard let id = vocabulary[piece] else {
                    throw item.wrong("merges \(piece.first(40)), which is not in the vocabulary")
                }
                return id
            }
            ranks[key(try id(left), try id(right))] = key(rank, try id(left + right))
        }
    }

    /// The rank of a merge and the id of what it makes; nil where two do not merge.
    func of(_ left: Int, _ right: Int) -> (rank: Int, made: Int)? {
        ranks[key(left, right)].map { (Int($0 >> 32), Int($0 & 0xffff_ffff)) }
    }
}

private func key(_ upper: Int, _ lower: Int) -> UInt64 { UInt64(upper) << 32 | UInt64(lower) }

private func pair(_ item: Json) throws -> (String, String) {
    if case .list = item.value {
        let both = try item.items(most: 2)
        if both.count == 2 { return (try both[0].text(), try both[1].text()) }
    } else {
        let parts = try item.text().utf8.split(separator: 0x20, omittingEmptySubsequences: false)
        if parts.count == 2 { return (String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self)) }
    }
    throw item.wrong("is no pair of pieces")
}
