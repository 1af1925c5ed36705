import Foundation

/// Asks whoever computes in the place of Apple's modules: a header of JSON behind its length, then the bytes of arrays. What it cannot do is thrown.
package final class Pipe: @unchecked Sendable {
    package static let shared = Pipe()

    private let lock = NSLock()
    private let handle: FileHandle

    private init() {
        let number = ProcessInfo.processInfo.environment["EDGE_COREML_PIPE"].flatMap { Int32($0) }
        handle = FileHandle(fileDescriptor: number ?? -1, closeOnDealloc: false)
    }

    /// An answer's header, and the bytes that follow it.
    package func ask(_ question: [String: Any], _ bytes: Data = Data()) throws -> (header: [String: Any], bytes: Data) {
        try lock.withLock {
            let header = try JSONSerialization.data(withJSONObject: question)
            try handle.write(contentsOf: length(header.count) + length(bytes.count) + header + bytes)
            let sizes = try read(16)
            let answer = try JSONSerialization.jsonObject(with: read(number(sizes.prefix(8)))) as? [String: Any] ?? [:]
            let more = try read(number(sizes.suffix(8)))
            if let problem = answer["problem"] as? String { throw PipeError(problem) }
            return (answer, more)
        }
    }

    private func read(_ count: Int) throws -> Data {
        var out = Data()
        while out.count < count {
            guard let part = try handle.read(upToCount: count - out.count), !part.isEmpty else {
                throw PipeError("there is no evaluator")
            }
            out += part
        }
        return out
    }
}

private func length(_ count: Int) -> Data { withUnsafeBytes(of: UInt64(count).littleEndian) { Data($0) } }

private func number(_ bytes: Data) -> Int { bytes.reversed().reduce(0) { $0 << 8 | Int($1) } }

package struct PipeError: LocalizedError {
    package let errorDescription: String?

    init(_ problem: String) { errorDescription = problem }
}
