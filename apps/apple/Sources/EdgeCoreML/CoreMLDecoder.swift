import CoreML
import EdgeKit

/// What a call of all packages gave, by name.
typealias Found = [String: MLMultiArray]

/// A decoder over the functions of one or more packages, in order.
///
/// Functions read a fixed number of positions: a prompt is cut into the longest that fit, and its rest is padded. Padded rows
/// of the cache lie after the sequence, where no position sees them, and are overwritten; near the end of the cache, where
/// they would not fit, single steps take over.
class CoreMLDecoder: Spliced {
    let sizes: Sizes
    let packages: [Package]
    var at = "" // what names of functions begin with: which cache is in use
    var size: Int // rows that the cache in use has room for
    var rows = 0 // of them that are filled
    var length = 0 // tokens
    var shown: Rows? // of pictures
    var found: [Range<Int>]? // which layers each package holds, once it was asked

    init(_ sizes: Sizes, _ packages: [Package]) throws {
        (self.sizes, self.packages, size) = (sizes, packages, sizes.context)
        try need("step")
    }

    var capacity: Int { sizes.context }

    func prefill(_ ids: [Int], stopped: () -> Bool) throws -> [Float]? {
        var (last, done): (Call?, Int) = (nil, 0)
        while done < ids.count {
            if done > 0 && stopped() { return nil }
            let isSeen = ids[done] < 0
            let part = Array(ids[done...].prefix { ($0 < 0) == isSeen })
            let calls = isSeen ? try read("rows", part, single: "rows1", stopped: stopped) : try read("prompt", part, stopped: stopped)
            guard let call = calls?.last else { return nil }
            (last, done) = (call, done + part.count)
        }
        return try last.map { try logits($0) }
    }

    func step(_ id: Int) throws -> [Float] {
        guard let logits = try prefill([id], stopped: { false }) else { throw otherModel }
        return logits
    }

    func rewind(_ length: Int) {
        rows = length == 0 ? 0 : rows - (self.length - length)
        self.length = length
    }

    /// Append tokens -> what each call gave, or nil where it was stopped between two; `single`: the function that reads one.
    func read(_ kind: String, _ ids: [Int], single: String = "step", stopped: () -> Bool) throws -> [Call]? {
        var (out, done): ([Call], Int) = ([], 0)
        while done < ids.count {
            if done > 0 && stopped() { return nil }
            let length = fitting(lengths(kind), ids.count - done)
            let part = Array(ids[done..<min(done + length, ids.count)])
            let names = [length == 1 ? single : "\(kind)\(length)", length == 1 ? "step" : "prompt\(length)"].map { at + $0 }
            let found = kind == "rows"
                ? try run(names, rows(part, names[0], length), last: part.count - 1)
                : try run([names[0]], MLMultiArray.ids(part, length: length), last: part.count - 1)
            out.append(Call(found: found, count: part.count))
            appended(part.count)
            done += part.count
        }
        return out
    }

    /// Rows of pictures, by their numbers, as the first package takes them: it alone has such functions.
    private func rows(_ numbers: [Int], _ name: String, _ length: Int) throws -> MLMultiArray {
        guard let shown, let type = packages[0].functions[name]?.inputs["hidden"] else { throw otherModel }
        let all = numbers.map { -1 - $0 }
        guard all.allSatisfy({ $0 < shown.count }) else { throw otherModel }
        let values = all.flatMap { shown[$0] } + Array(repeating: 0, count: (length - all.count) * shown.width)
        return try .numbers(values, [1, length, shown.width], type)
    }

    /// One call: how many tokens were real, and what it gave.
    struct Call {
        let found: Found
        let count: Int
    }

    /// Of the last token of a call, [V].
    func logits(_ call: Call) throws -> [Float] {
        guard let logits = call.found["logits"] else { throw otherModel }
        let shape = logits.sizes
        guard shape.count == 3, shape[1] > 0, shape[2] == sizes.vocab else { throw otherModel }
        return try logits.row([0, min(shape[1], call.count) - 1])
    }

    /// In every package the first of these functions that it has, `ahead` rows after the sequence -> everything that they
    /// gave, the last one last. `fed`: ids, or what the first package would be given of another.
    func run(_ names: [String], _ fed: MLMultiArray, ahead: Int = 0, last: Int = 0) throws -> Found {
        var given: Found = ["position": try .number(length + ahead), "rows": try .number(rows + ahead), "last": try .number(last)]
        var found: Found = [:]
        for package in packages {
            guard let name = names.first(where: { package.functions[$0] != nil }), let function = package.functions[name] else { continue }
            let stream = found["nextHidden"] ?? fed
            (given["inputIds"], given["hidden"]) = (stream, stream)
            found.merge(try package.call(name, given.filter { function.inputs[$0.key] != nil })) { $1 }
        }
        return found
    }

    /// So many tokens are in the cache now.
    func appended(_ count: Int) {
        length += count
        rows += count
    }

    /// Rows that a call may write.
    var room: Int { min(capacity - length, size - rows) }

    /// The longest call that `left` tokens fill, or the shortest that holds them, or a step.
    private func fitting(_ lengths: [Int], _ left: Int) -> Int {
        if let filled = lengths.last(where: { $0 <= left }) { return filled }
        return left > 1 ? lengths.first { $0 <= room } ?? 1 : 1
    }

    /// Lengths of the functions of a kind that every package has, rising; more than one token each.
    private func lengths(_ kind: String) -> [Int] {
        let name = at + kind
        let found = (kind == "rows" ? packages.prefix(1) : packages[...]).map { package in
            Set(package.functions.keys.filter { $0.hasPrefix(name) }.compactMap { Int($0.dropFirst(name.count)) })
        }
        let all = found.dropFirst().reduce(found.first ?? []) { $0.intersection($1) }
        return all.filter { 1 < $0 && $0 <= capacity }.sorted()
    }

    /// A function that every package must have.
    func need(_ name: String) throws {
        if packages.isEmpty || packages.contains(where: { $0.functions[name] == nil }) {
            throw EdgeError("The model's packages have no function \(name): convert it to coreml again.")
        }
    }
}
