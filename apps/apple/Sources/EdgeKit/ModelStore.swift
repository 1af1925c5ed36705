import Foundation

/// The models in a folder that is the app's own. A model is copied into a folder beside the others, hashed on the way, and
/// takes its name only when it is whole: a damaged copy never replaces a good model. What is refused throws an `EdgeError`.
public struct ModelStore: Sendable {
    private let root: URL
    private let targets: [String]

    /// `targets`: what the models of this app are for.
    public init(_ root: URL, targets: [String] = ["coreml"]) {
        (self.root, self.targets) = (root, targets)
        if LOCK.try() { // else a copy is under way
            cleared()
            LOCK.unlock()
        }
    }

    /// Whole models, by name.
    public func list() -> [Stored] {
        folders().filter { !$0.hasPrefix(".") && exists(place($0).appendingPathComponent(ModelFolder.app)) }.sorted().map {
            Stored(name: $0, folder: place($0), bytes: size(place($0)))
        }
    }

    /// Copy a model from `files`, among which is one app.json. `progress` is told the share that is done, from 0 to 1; where
    /// `stopped` says so, nothing stays. A model of the same name is replaced.
    public func add(
        _ name: String, _ files: [Incoming], progress: @escaping (Double) -> Void = { _ in },
        stopped: @escaping () -> Bool = { false }
    ) throws -> Stored {
        try LOCK.withLock {
            cleared()
            let apps = files.filter { $0.path == ModelFolder.app || $0.path.hasSuffix("/\(ModelFolder.app)") }
            guard let app = apps.min(by: { depth($0.path) < depth($1.path) }) else { throw EdgeError(ModelFolder.noModel) }
            let description = try ModelFolder.described(app.open())
            try description.need(targets)
            let byPath = Dictionary(files.map { ($0.path, $0) }) { first, _ in first }
            let prefix = app.path.dropLast(ModelFolder.app.count)
            let sources = try description.files.map { named in
                guard let file = byPath[prefix + named.name] else {
                    throw EdgeError("The file \(named.name) is missing: choose the whole folder.")
                }
                return (named, file)
            }
            try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
            try room(for: description.bytes)
            let made = place(NEW)
            defer { delete(made) }
            var copy = Copy(made, total: description.bytes, progress: progress, stopped: stopped)
            for (named, file) in sources { try copy.one(named, file) }
            try copy.description(app)
            if try ModelFolder(made).description.files != description.files { // app.json was read twice
                throw EdgeError("app.json changed while it was copied: add the model again.")
            }
            let kept = [name, description.name].map(safe).first { !$0.isEmpty }
            return try named(made, kept ?? "model")
        }
    }

    public func delete(_ name: String) throws {
        try LOCK.withLock {
            guard list().contains(where: { $0.name == name }) else {
                throw EdgeError("There is no model of the name \(name.first(60)).")
            }
            delete(place(GONE))
            try FileManager.default.moveItem(at: place(name), to: place(GONE)) // as a whole, or not at all
            delete(place(GONE))
        }
    }

    /// Bytes that a model takes at so many tokens of context; without a number, at what most conversations stay below.
    public func needed(_ model: Stored, context: Int? = nil) throws -> Int {
        let description = try ModelFolder(model.folder).description
        return description.memory(context ?? min(USUAL, description.sizes.context))
    }

    /// Give a whole copy its name: the one before it goes last.
    private func named(_ made: URL, _ name: String) throws -> Stored {
        let old = place(OLD + name)
        if exists(place(name)) { try FileManager.default.moveItem(at: place(name), to: old) }
        do {
            try FileManager.default.moveItem(at: made, to: place(name))
        } catch {
            try? FileManager.default.moveItem(at: old, to: place(name))
            throw EdgeError("The model cannot be kept under the name \(name).")
        }
        delete(old)
        return Stored(name: name, folder: place(name), bytes: size(place(name)))
    }

    /// Take away what an app that was ended left half done; a model that was to be replaced, and was not, is back.
    private func cleared() {
        delete(place(NEW))
        delete(place(GONE))
        for old in folders() where old.hasPrefix(OLD) {
            let name = place(String(old.dropFirst(OLD.count)))
            if exists(name) { delete(place(old)) } else { try? FileManager.default.moveItem(at: place(old), to: name) }
        }
    }

    private func room(for bytes: Int) throws {
        let system = try FileManager.default.attributesOfFileSystem(forPath: root.path)
        let free = (system[.systemFreeSize] as? NSNumber)?.intValue ?? .max
        if free < bytes {
            throw EdgeError("The model takes \(bytes / MB) MB, and \(free / MB) MB are free on this device: delete something first.")
        }
    }

    private func folders() -> [String] { (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? [] }

    private func place(_ name: String) -> URL { root.appendingPathComponent(name, isDirectory: true) }

    private func delete(_ url: URL) { try? FileManager.default.removeItem(at: url) }
}

private let NEW = ".new"
private let OLD = ".old."
private let GONE = ".gone"
private let USUAL = 4096
private let MB = 1_000_000
private let LOCK = NSLock() // several stores may be of one folder

private func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

private func depth(_ path: String) -> Int { path.utf8.count { $0 == 0x2f } }

/// Bytes of all files below a folder.
private func size(_ folder: URL) -> Int {
    let keys: Set<URLResourceKey> = [.fileSizeKey, .isRegularFileKey]
    let all = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: Array(keys))?.allObjects ?? []
    return all.compactMap { try? ($0 as? URL)?.resourceValues(forKeys: keys) }
        .reduce(0) { $0 + ($1.isRegularFile == true ? $1.fileSize ?? 0 : 0) }
}

/// What may be the name of a folder.
private func safe(_ name: String) -> String {
    let letters = name.unicodeScalars.map { char -> Unicode.Scalar in
        char.properties.isAlphabetic || ("0"..."9").contains(char) || "._- ".unicodeScalars.contains(char) ? char : "-"
    }
    let plain = letters.drop { ". ".unicodeScalars.contains($0) }.prefix(60)
    return trimmed(String(scalars: plain))
}
