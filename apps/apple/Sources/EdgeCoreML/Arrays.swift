import CoreML
import EdgeKit
import Foundation

extension MLMultiArray {
    var sizes: [Int] { shape.map(\.intValue) }

    /// Of whole numbers [1, N].
    static func ids(_ ids: [Int], length: Int) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: [1, length as NSNumber], dataType: .int32)
        array.fill(ids.map(Int32.init) + Array(repeating: 0, count: max(0, length - ids.count)))
        return array
    }

    /// One whole number, [1].
    static func number(_ number: Int) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: [1], dataType: .int32)
        array.fill([Int32(number)])
        return array
    }

    /// Numbers of a shape, one row after the other.
    static func numbers(_ numbers: [Float], _ shape: [Int], _ type: MLMultiArrayDataType) throws -> MLMultiArray {
        if type == .int32 || shape.isEmpty || shape.reduce(1, *) != numbers.count { throw otherModel }
        let array = try MLMultiArray(shape: shape.map { $0 as NSNumber }, dataType: type)
        if type == .float16 { array.fill(numbers.map(half)) } else { array.fill(numbers) }
        return array
    }

    /// All numbers, one row after the other.
    func all() throws -> [Float] {
        var out: [Float] = []
        for number in 0..<sizes.dropLast().reduce(1, *) { out += try row(place(number)) }
        return out
    }

    /// Where a row stands among all.
    private func place(_ number: Int) -> [Int] {
        var rest = number
        return Array(sizes.dropLast().reversed().map { size in
            defer { rest /= size }
            return rest % size
        }.reversed())
    }

    private func fill<Number>(_ numbers: [Number]) {
        let (width, shape) = (sizes[sizes.count - 1], sizes)
        let places = (0..<shape.dropLast().reduce(1, *)).map { place($0) }
        withUnsafeMutableBytes { bytes, steps in
            let all = bytes.bindMemory(to: Number.self)
            for (row, place) in places.enumerated() {
                let start = zip(place, steps).reduce(0) { $0 + $1.0 * $1.1 }
                for w in 0..<width { all[start + w * steps[steps.count - 1]] = numbers[row * width + w] }
            }
        }
    }

    /// Streams [1, 1, D] of tokens, one after the other, and zeros behind them: [1, N, D].
    static func joined(_ streams: [MLMultiArray], length: Int) throws -> MLMultiArray {
        guard let first = streams.first, first.dataType != .int32, streams.count <= length,
            streams.allSatisfy({ $0.sizes == [1, 1, first.sizes.last ?? 0] && $0.dataType == first.dataType })
        else { throw otherModel }
        let width = first.sizes[2]
        let array = try MLMultiArray(shape: [1, length as NSNumber, width as NSNumber], dataType: first.dataType)
        if first.dataType == .float16 { array.join(streams, UInt16(0)) } else { array.join(streams, Float(0)) }
        return array
    }

    private func join<Number>(_ streams: [MLMultiArray], _ zero: Number) {
        let width = sizes[2]
        withUnsafeMutableBytes { bytes, steps in
            let all = bytes.bindMemory(to: Number.self)
            for row in 0..<sizes[1] {
                for w in 0..<width { all[row * steps[1] + w * steps[2]] = zero }
            }
            for (row, stream) in streams.enumerated() {
                let step = stream.strides[2].intValue
                stream.withUnsafeBytes { source in
                    let source = source.bindMemory(to: Number.self)
                    for w in 0..<width { all[row * steps[1] + w * steps[2]] = source[w * step] }
                }
            }
        }
    }

    /// The last axis at a place of all the others: there may be gaps between rows.
    func row(_ place: [Int]) throws -> [Float] {
        let inside = place.count == shape.count - 1 && zip(place, sizes).allSatisfy { 0 <= $0 && $0 < $1 }
        if !inside { throw otherModel } // else memory would be read that is not the array's
        let steps = strides.map(\.intValue)
        let start = zip(place, steps).reduce(0) { $0 + $1.0 * $1.1 }
        let (count, step) = (sizes[sizes.count - 1], steps[steps.count - 1])
        return try withUnsafeBytes { bytes in
            switch dataType {
            case .float16:
                let all = bytes.bindMemory(to: UInt16.self)
                return (0..<count).map { float(all[start + $0 * step]) }
            case .float32:
                let all = bytes.bindMemory(to: Float.self)
                return (0..<count).map { all[start + $0 * step] }
            default:
                throw EdgeError("The model gives numbers of a type that this app does not know.")
            }
        }
    }
}

/// Copy rows of heads [1, G, S, W] to the front of another cache: `places` of each head of a range. They rise, so that a
/// cache may be its own target.
func copyRows(_ from: MLMultiArray, _ to: MLMultiArray, _ heads: Range<Int>, _ places: [[Int]]) throws {
    guard from.dataType == .float16, to.dataType == .float16, from.sizes.count == 4, to.sizes.count == 4,
        from.sizes[3] == to.sizes[3], heads.upperBound <= min(from.sizes[1], to.sizes[1]),
        places.allSatisfy({ $0.count <= to.sizes[2] && $0.allSatisfy((0..<from.sizes[2]).contains) })
    else { throw otherModel }
    let width = from.sizes[3]
    let steps = from.strides.map(\.intValue)
    from.withUnsafeBytes { source in
        to.withUnsafeMutableBytes { target, others in
            let (source, target) = (source.bindMemory(to: UInt16.self), target.bindMemory(to: UInt16.self))
            for (head, rows) in zip(heads, places) {
                for (row, place) in rows.enumerated() {
                    for w in 0..<width {
                        let found = source[head * steps[1] + place * steps[2] + w * steps[3]]
                        target[head * others[1] + row * others[2] + w * others[3]] = found
                    }
                }
            }
        }
    }
}

let otherModel = EdgeError("The model's packages are of another model than app.json. Add the model again.")
