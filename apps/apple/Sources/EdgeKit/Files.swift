import Foundation

/// The next bytes of a file or a stream; none at its end.
package typealias Bytes = () throws -> [UInt8]

/// Reads a file in parts, by C's library: Foundation's own would keep each part until a pool is drained.
package func bytes(of file: URL) throws -> Bytes {
    guard let opened = fopen(file.path, "rb") else { throw EdgeError("\(file.lastPathComponent) cannot be read.") }
    let handle = Handle(opened)
    return {
        try [UInt8](unsafeUninitializedCapacity: PART) { buffer, count in
            count = fread(buffer.baseAddress, 1, PART, handle.file)
            if count == 0 && ferror(handle.file) != 0 { throw EdgeError("\(file.lastPathComponent) cannot be read.") }
        }
    }
}

private final class Handle {
    let file: UnsafeMutablePointer<FILE>

    init(_ file: UnsafeMutablePointer<FILE>) { self.file = file }

    deinit { fclose(file) }
}

/// The SHA-256 of what is read, each part of which is also given to `each`.
package func hashed(_ bytes: Bytes, each: ([UInt8]) throws -> Void = { _ in }) throws -> String {
    var hash = Sha256()
    while true {
        let part = try bytes()
        if part.isEmpty { return hash.digits() }
        try each(part)
        hash.update(part)
    }
}

private let PART = 1 << 18
