import CoreML
import EdgeKit

/// Where layers lie in the caches of packages, and what they hold.
extension CoreMLDecoder: Inspectable {
    func begin(at row: Int) {
        for package in packages { package.forget(KEYS) }
        (length, rows) = (row, row)
    }

    func cached(_ places: [Int]) throws -> (keys: [[Float]], values: [[Float]]) { (try cached(KEYS, places), try cached(VALUES, places)) }

    private func cached(_ state: String, _ places: [Int]) throws -> [[Float]] {
        var out = places.map { _ in [Float]() }
        for (package, layers) in zip(packages, try shares()) {
            try package.with(state) { array in
                for (at, place) in places.enumerated() {
                    for index in layers {
                        let (layer, heads) = (sizes.layers[index], heads(index, layers))
                        out[at] += try array.row([0, heads.lowerBound + index % layer.kvHeads, place]).prefix(layer.width)
                    }
                }
            }
        }
        return out
    }

    /// Where a layer's kv heads lie in the states of its package.
    func heads(_ index: Int, _ layers: Range<Int>) -> Range<Int> {
        let start = layers.prefix { $0 < index }.reduce(0) { $0 + sizes.layers[$1].kvHeads }
        return start..<start + sizes.layers[index].kvHeads
    }

    /// Which layers each package holds, from the shapes of its caches.
    func shares() throws -> [Range<Int>] {
        if let found { return found }
        var stop = 0
        let shares = try packages.map { package in
            let start = stop
            var heads = try package.with(KEYS) { $0.sizes.count == 4 ? $0.sizes[1] : -1 }
            while heads > 0 && stop < sizes.layers.count {
                heads -= sizes.layers[stop].kvHeads
                stop += 1
            }
            if heads != 0 { throw otherModel }
            return start..<stop
        }
        if stop < sizes.layers.count { throw otherModel }
        found = shares
        return shares
    }
}

let KEYS = "keyCache"
let VALUES = "valueCache"
