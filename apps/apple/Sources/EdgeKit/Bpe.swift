/// Byte-pair encoding: a word's characters, of which neighbours are merged, the lowest rank first.
struct Bpe {
    let vocabulary: Vocabulary
    private let merges: Merges
    private let wholeFirst: Bool
    private let fuses: Bool
    private let unknown: Int?
    private let bytes: [Int]? // the id of each byte's piece

    init(_ json: Json) throws {
        let kind = try json["type"].orNil?.text() ?? "BPE"
        if kind != "BPE" { throw json.wrong("is of the kind \(kind.first(20)), and this app reads BPE") }
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if try json[name].orNil?.text().isEmpty == false { throw json.wrong("has \(name), which this app does not know") }
        }
        if try json["dropout"].orNil?.number() ?? 0 != 0 { throw json.wrong("drops merges by chance") }
        let vocabulary = try Vocabulary(json["vocab"])
        merges = try Merges(json["merges"], vocabulary)
        wholeFirst = try json["ignore_merges"].orNil?.flag() ?? false
        fuses = try json["fuse_unk"].orNil?.flag() ?? false
        unknown = try json["unk_token"].orNil.map {
            guard let id = vocabulary[try $0.text()] else { throw $0.wrong("is not in the vocabulary") }
            return id
        }
        let falls = try json["byte_fallback"].orNil?.flag() ?? false
        let pieces = (0..<256).map { vocabulary["<0x\(hexadecimal(UInt8($0)).uppercased())>"] }
        if falls && pieces.contains(nil) { throw json.wrong("falls back to bytes, of which the vocabulary lacks some") }
        bytes = falls ? pieces.compactMap { $0 } : nil
        self.vocabulary = vocabulary
    }

    func encode(_ word: String, into ids: inout [Int]) {
        if wholeFirst, let id = vocabulary[word] { return ids.append(id) }
        var id = symbols(word)
        let count = id.count
        var next = (0..<count).map { $0 + 1 }
        var before = (0..<count).map { $0 - 1 }
        var queue = Queue()
        func offer(_ at: Int) {
            if at < 0 || next[at] >= count { return }
            let (left, right) = (id[at], id[next[at]])
            guard let found = merges.of(left, right) else { return }
            queue.add(Merge(rank: found.rank, at: at, made: found.made, left: left, right: right))
        }
        for at in 0..<max(0, count - 1) { offer(at) }
        while let merge = queue.next() {
            let at = merge.at
            let second = next[at]
            // Another merge may have taken one of the two.
            if id[at] != merge.left || second >= count || id[second] != merge.right { continue }
            id[at] = merge.made
            id[second] = GONE
            next[at] = next[second]
            if next[at] < count { before[next[at]] = at }
            offer(before[at])
            offer(at)
        }
        for one in id where one != GONE { ids.append(one) }
    }

    /// Ids of a word's code points, rare ones as their bytes.
    private func symbols(_ word: String) -> [Int] {
        var out: [Int] = []
        var fused = false // whether the last one was unknown
        for scalar in word.unicodeScalars {
            let known = vocabulary[String(scalar)]
            if let known {
                out.append(known)
            } else if let bytes {
                for byte in String(scalar).utf8 { out.append(bytes[Int(byte)]) }
            } else if let unknown, !(fuses && fused) {
                out.append(unknown)
            }
            fused = known == nil && bytes == nil && unknown != nil
        }
        return out
    }
}

private let GONE = -1

/// Two neighbours that may become one.
private struct Merge {
    let rank, at, made, left, right: Int

    func comes(before other: Merge) -> Bool { rank != other.rank ? rank < other.rank : at < other.at }
}

/// A heap of merges: the lowest rank first, and of those alike the leftmost.
private struct Queue {
    private var heap: [Merge] = []

    mutating func add(_ merge: Merge) {
        heap.append(merge)
        var at = heap.count - 1
        while at > 0, merge.comes(before: heap[(at - 1) / 2]) {
            heap.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    mutating func next() -> Merge? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if heap.isEmpty { return first }
        heap[0] = last
        var at = 0
        while 2 * at + 1 < heap.count {
            var lower = 2 * at + 1
            if lower + 1 < heap.count && heap[lower + 1].comes(before: heap[lower]) { lower += 1 }
            if !heap[lower].comes(before: heap[at]) { break }
            heap.swapAt(at, lower)
            at = lower
        }
        return first
    }
}
