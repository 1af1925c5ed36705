import CoreML
import EdgeKit

/// A decoder that can stop after its first layers, E of them: those up to the exit and those after it are functions over one
/// cache, so that a refused draft costs nothing to undo. What a drafted token leaves at the exit is kept until all of it goes on.
final class ExitDecoder: CoreMLDecoder, EarlyExit {
    private let early, drafting, late: String // names of functions
    private let lates: [Int] // how many rows go on together, rising
    private var left: [MLMultiArray] = [] // of each drafted token, [1, 1, D]

    override init(_ sizes: Sizes, _ packages: [Package]) throws {
        let exits = packages.last?.functions.keys.filter { $0.hasPrefix("draft") }.compactMap { Int($0.dropFirst(5)) } ?? []
        guard let exit = exits.min() else {
            throw EdgeError("This model keeps no exit, after which its first layers could draft: convert it with --layerskip.")
        }
        (early, drafting, late) = ("early\(exit)", "draft\(exit)", "late\(exit)_")
        lates = try meeting(packages, early: early, late: late).filter { $0 <= sizes.context }
        try super.init(sizes, packages)
    }

    override func read(_ kind: String, _ ids: [Int], single: String, stopped: () -> Bool) throws -> [Call]? {
        left = []
        return try super.read(kind, ids, single: single, stopped: stopped)
    }

    override func rewind(_ length: Int) {
        left = []
        super.rewind(length)
    }

    func draft(_ id: Int) throws -> [Float] {
        let found = try first(id, [drafting, early])
        guard let logits = found["logits"], logits.sizes.count == 3, logits.sizes[2] <= sizes.vocab else { throw otherModel }
        return try logits.row([0, 0])
    }

    func finish(_ id: Int) throws -> [[Float]] {
        _ = try first(id, [early])
        defer { left = [] }
        var (out, done): ([[Float]], Int) = ([], 0)
        while done < left.count {
            let count = left.count - done
            guard let length = lates.first(where: { count <= $0 && $0 <= room }) ?? lates.last(where: { $0 <= count }) else { throw otherModel }
            let part = Array(left[done..<min(done + length, left.count)])
            let found = try run([late + "\(length)"], MLMultiArray.joined(part, length: length))
            for place in part.indices { out.append(try logits(Call(found: found, count: place + 1))) }
            appended(part.count)
            done += part.count
        }
        return out
    }

    /// A token up to the exit, behind those that were drafted; what it leaves there is kept.
    private func first(_ id: Int, _ names: [String]) throws -> Found {
        let found = try run(names, MLMultiArray.ids([id], length: 1), ahead: left.count)
        guard let stream = found["nextHidden"] else { throw otherModel }
        left.append(stream)
        return found
    }
}

/// How many rows go on from an exit together, in every package that has layers after it. It lies in one package or between
/// two: those up to it have the first layers, those from it on the others.
private func meeting(_ packages: [Package], early: String, late: String) throws -> [Int] {
    let before = packages.prefix { $0.functions[early] != nil }.count
    let after = packages.map { package in
        Set(package.functions.keys.filter { $0.hasPrefix(late) }.compactMap { Int($0.dropFirst(late.count)) }.filter { $0 > 0 })
    }
    let start = after.prefix { !$0.contains(1) }.count
    let whole = before > 0 && !packages.dropFirst(before).contains { $0.functions[early] != nil }
    guard whole, start == before - 1 || start == before, start < after.count, after[start...].allSatisfy({ $0.contains(1) }) else {
        throw EdgeError("The model's packages do not meet at their exit: convert it to coreml again.")
    }
    return after[start...].reduce(after[start]) { $0.intersection($1) }.sorted()
}
