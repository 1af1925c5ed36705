import CoreML
import EdgeKit

/// The tower and the projector of a model that sees pictures, one tile at a time.
struct CoreMLEyes: Eyes {
    private let tower, projector: Package

    init(tower: Package, projector: Package) throws {
        (self.tower, self.projector) = (tower, projector)
        if tower.functions["main"]?.inputs["image"] == nil || projector.functions["main"]?.inputs["features"] == nil { throw otherModel }
    }

    func rows(_ tile: [Float]) throws -> [Float] {
        let side = Int((Double(tile.count) / 3).squareRoot())
        let features = try through(tower, "image", tile, [1, side, side, 3], "features")
        return try through(projector, "features", features.all(), features.sizes, "rows").all()
    }

    private func through(_ network: Package, _ input: String, _ numbers: [Float], _ shape: [Int], _ output: String) throws -> MLMultiArray {
        guard let type = network.functions["main"]?.inputs[input] else { throw otherModel }
        guard let found = try network.call("main", [input: .numbers(numbers, shape, type)])[output] else { throw otherModel }
        return found
    }
}
