import Foundation

/// Files on their way into a folder.
struct Copy {
    let folder: URL
    let total: Int
    let progress: (Double) -> Void
    let stopped: () -> Bool
    private var done = 0

    init(_ folder: URL, total: Int, progress: @escaping (Double) -> Void, stopped: @escaping () -> Bool) {
        (self.folder, self.total, self.progress, self.stopped) = (folder, total, progress, stopped)
    }

    mutating func one(_ named: Named, _ source: Incoming) throws {
        let out = try output(named.name)
        defer { fclose(out) }
        var left = named.bytes
        let hash = try hashed(source.open()) { part in
            left -= part.count
            if left < 0 { throw EdgeError("\(named.name) has more than \(named.bytes) bytes: get it again.") }
            if stopped() { throw EdgeError("Adding the model was stopped.") }
            try write(part, out, named.name)
            done += part.count
            progress(Double(done) / Double(max(1, total)))
        }
        if left > 0 { throw EdgeError("\(named.name) has \(left) bytes fewer than \(named.bytes): get it again.") }
        if fflush(out) != 0 { throw full(named.name) }
        try ModelFolder.checkHash(named, hash)
    }

    /// app.json itself, which names no hash of its own.
    func description(_ source: Incoming) throws {
        let out = try output(ModelFolder.app)
        defer { fclose(out) }
        _ = try hashed(source.open()) { try write($0, out, ModelFolder.app) }
        if fflush(out) != 0 { throw full(ModelFolder.app) }
    }

    private func output(_ name: String) throws -> UnsafeMutablePointer<FILE> {
        let file = folder.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        guard let out = fopen(file.path, "wb") else { throw full(name) }
        return out
    }

    private func write(_ part: [UInt8], _ out: UnsafeMutablePointer<FILE>, _ name: String) throws {
        if fwrite(part, 1, part.count, out) != part.count { throw full(name) }
    }

    private func full(_ name: String) -> EdgeError { EdgeError("\(name) cannot be written: \(String(cString: strerror(errno))).") }
}
