import Foundation

public enum MLMultiArrayDataType: Sendable {
    case float16, float32, int32

    init?(_ name: String) {
        let known: [String: Self] = ["float16": .float16, "float32": .float32, "int32": .int32]
        guard let found = known[name] else { return nil }
        self = found
    }

    var width: Int { self == .float16 ? 2 : 4 }

    var name: String {
        switch self {
        case .float16: "float16"
        case .float32: "float32"
        case .int32: "int32"
        }
    }
}

public final class MLMultiArray {
    public let shape: [NSNumber]
    public let strides: [NSNumber]
    public let dataType: MLMultiArrayDataType
    private var storage: [UInt8]

    public convenience init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.init(shape.map(\.intValue), dataType, gap: 0)
    }

    /// `gap`: items between two rows.
    init(_ shape: [Int], _ dataType: MLMultiArrayDataType, gap: Int) {
        var strides = [1]
        for (at, size) in shape.dropFirst().reversed().enumerated() { strides.insert(strides[0] * (size + (at == 0 ? gap : 0)), at: 0) }
        storage = Array(repeating: 0, count: (shape.first ?? 1) * strides[0] * dataType.width)
        self.shape = shape.map { NSNumber(value: $0) }
        self.strides = strides.map { NSNumber(value: $0) }
        self.dataType = dataType
    }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { try storage.withUnsafeBytes(body) }

    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R {
        try storage.withUnsafeMutableBytes { try body($0, strides.map(\.intValue)) }
    }

    /// Without gaps, as the evaluator has it.
    var packed: Data {
        get {
            var out = Data()
            rows { out += storage[$0] }
            return out
        }
        set {
            var at = newValue.startIndex
            rows { row in
                storage.replaceSubrange(row, with: newValue[at..<at + row.count])
                at += row.count
            }
        }
    }

    private func rows(_ body: (Range<Int>) -> Void) {
        let row = (shape.last?.intValue ?? 1) * dataType.width
        let step = shape.count > 1 ? strides[shape.count - 2].intValue * dataType.width : row
        if step > 0 { for start in stride(from: 0, to: storage.count, by: step) { body(start..<start + row) } }
    }
}
