import CoreML
import EdgeKit

/// A decoder whose cache may be cut (SnapKV).
///
/// What is kept goes over to a small cache, whose functions attend to its few rows and no more: a cache of fixed size costs
/// its whole size in each step. When an answer fills it, it goes on in the next larger one, at last in the whole.
final class CutDecoder: CoreMLDecoder, Evictable {
    private let small: [Int] // rows of the small caches, rising

    override init(_ sizes: Sizes, _ packages: [Package]) throws {
        let names = packages.first?.functions.keys.filter { $0.hasPrefix("cut") && $0.hasSuffix("_step") } ?? []
        small = names.compactMap { Int($0.dropFirst(3).dropLast(5)) }.filter { $0 < sizes.context }.sorted()
        if small.isEmpty {
            throw EdgeError("This model has no small cache for the rows that SnapKV keeps: convert it with --snapkv-rows 1280.")
        }
        try super.init(sizes, packages)
        _ = try shares()
        for rows in small { try need("cut\(rows)_step") }
        try need("observe1")
    }

    func observe(_ ids: [Int]) throws -> ([Float], [[[Float]]]) {
        try move(capacity)
        guard let calls = try read("observe", ids, single: "observe1", stopped: { false }), let last = calls.last else { throw otherModel }
        return (try logits(last), try votes(calls))
    }

    func cut(_ kept: [[[Int]]]) throws {
        let count = kept.first?.first?.count ?? 0
        guard let size = small.first(where: { $0 > count }) else {
            throw EdgeError("SnapKV keeps \(count) rows, and this model's small caches hold fewer: convert it with --snapkv-rows \(count + 256).")
        }
        try carry(size, kept)
        rows = count
    }

    override func rewind(_ length: Int) {
        super.rewind(length)
        if length == 0 { use(capacity) }
    }

    override func read(_ kind: String, _ ids: [Int], single: String, stopped: () -> Bool) throws -> [Call]? {
        let wanted = rows + ids.count
        if wanted > size { try move(small.first { $0 >= wanted } ?? capacity) }
        return try super.read(kind, ids, single: single, stopped: stopped)
    }

    /// Of each layer, from the queries of the last tokens and all keys: [L, H, S].
    private func votes(_ calls: [Call]) throws -> [[[Float]]] {
        let tokens = calls.reduce(0) { $0 + $1.count }
        var out: [[[Float]]] = []
        for (package, layers) in zip(packages, try shares()) {
            try package.with(KEYS) { keys in
                for index in layers {
                    let layer = sizes.layers[index]
                    let (q, heads) = (try queries(calls, index), heads(index, layers))
                    var k: [Float] = []
                    for head in heads { for row in 0..<rows { k += try keys.row([0, head, row]).prefix(layer.width) } }
                    out.append(EdgeKit.votes(q, k, tokens: tokens, layer, rows: rows))
                }
            }
        }
        return out
    }

    /// Of a layer, rotated, [T, H, W]: calls give [1, H, T, W].
    private func queries(_ calls: [Call], _ index: Int) throws -> [Float] {
        let layer = sizes.layers[index]
        return try calls.flatMap { call in
            guard let found = call.found["queries\(index)"], found.sizes.count == 4, found.sizes[1] == layer.heads,
                found.sizes[2] >= call.count, found.sizes[3] == layer.width
            else { throw otherModel }
            return try (0..<call.count).flatMap { t in try (0..<layer.heads).flatMap { try found.row([0, $0, t]) } }
        }
    }

    /// What is in the cache goes on in another.
    private func move(_ size: Int) throws {
        if size == self.size { return }
        let all = Array(0..<rows)
        try carry(size, sizes.layers.map { Array(repeating: all, count: $0.kvHeads) })
    }

    /// Put these rows of each layer, [L, G, C], at the front of another cache, and use that.
    private func carry(_ size: Int, _ kept: [[[Int]]]) throws {
        for (package, layers) in zip(packages, try shares()) {
            for state in [KEYS, VALUES] {
                func copied(_ old: MLMultiArray, _ new: MLMultiArray) throws {
                    for index in layers { try copyRows(old, new, heads(index, layers), kept[index]) }
                }
                try package.with(state + suffix(self.size)) { old in
                    if size == self.size { try copied(old, old) } else { try package.with(state + suffix(size)) { try copied(old, $0) } }
                }
            }
        }
        use(size)
    }

    /// Use another cache, and give the memory of this one back.
    private func use(_ size: Int) {
        if size == self.size { return }
        for package in packages { package.forget(KEYS + suffix(self.size)) }
        self.size = size
        at = suffix(size).isEmpty ? "" : "cut\(size)_"
    }

    /// Of the names of a cache's states.
    private func suffix(_ size: Int) -> String { size == capacity ? "" : "\(size)" }
}
