import EdgeKit
import Foundation

extension Checks {
    /// Folders that are not whole: each is refused in words, and nothing of it stays. `app`: a folder that `edge app` wrote.
    func folders(_ app: URL, _ place: URL) throws {
        try descriptions(app)
        let models = place.appendingPathComponent("models")
        let store = ModelStore(models)
        check("a model is added, found, measured, replaced and deleted") { try kept(store, app) }
        check("what the user picked may lie in a folder") {
            let picked = try incoming(app, "Download/stories-app/") + incoming(app, "Download/older/stories-app/")
            try store.delete(store.add("Download", picked + [Incoming("x") { throw Wrong(description: "not read") }]).name)
        }
        check("a copy that is stopped leaves nothing") {
            var asked = 0
            try refused("was stopped") {
                _ = try store.add("x", incoming(app), stopped: { asked += 1; return asked == 8 })
            }
            try equal(FileManager.default.contentsOfDirectory(atPath: models.path), [])
        }
        check("a damaged copy leaves the good model") { try damaged(store, app) }
        check("an app that ended while a model was replaced has the old one") { try ended(place, app) }
        check("an app.json that changes while it is read") {
            var reads = 0
            let other = try String(contentsOf: app.appendingPathComponent("app.json"), encoding: .utf8)
                .replacingOccurrences(of: "\"bytes\": ", with: "\"bytes\": 1")
            let changing = try incoming(app).map { one in
                one.path != "app.json" ? one : Incoming(one.path) {
                    reads += 1
                    return try reads == 1 ? bytes(of: app.appendingPathComponent("app.json")) : once(Array(other.utf8))
                }
            }
            try refused("changed while it was copied") { _ = try store.add("x", changing) }
        }
        check("a name is only a name") {
            for name in ["../x", "/etc/x", "..", "a/b", "", ".hidden", String(repeating: "x", count: 300), "a\0b", "con\\x", ". .x"] {
                let stored = try store.add(name, incoming(app))
                try equal(FileManager.default.contentsOfDirectory(atPath: models.path), [stored.name], name)
                try equal(stored.folder.deletingLastPathComponent().standardizedFileURL.path, models.standardizedFileURL.path, name)
                try store.delete(stored.name)
            }
        }
        check("what is not there is told") {
            try refused("There is no model of the name ../models") { try store.delete("../models") }
            try refused("no app.json") { _ = try store.add("x", []) }
            try refused("edge.json is missing: choose the whole folder") {
                _ = try store.add("x", incoming(app).filter { !$0.path.hasSuffix("edge.json") })
            }
        }
        check("a damaged file is told before it is opened") {
            for name in ["text/model.mlpackage/Manifest.json", "text/model.mlpackage/Data/com.apple.CoreML/model.mlmodel", "tokenizer.json"] {
                let stored = try store.add("x", incoming(app))
                let file = stored.folder.appendingPathComponent(name)
                let whole = try Data(contentsOf: file)
                try flipped(whole).write(to: file)
                try refused("\(name) is damaged") { try ModelFolder(stored.folder).check() }
                try (whole + [0]).write(to: file)
                try refused("\(name) has ") { try ModelFolder(stored.folder).check() }
                try FileManager.default.removeItem(at: file)
                try refused("\(name) is missing. Add the model again.") { try ModelFolder(stored.folder).check() }
            }
        }
        check("an app.json without an end takes little memory") {
            let before = peakMegabytes()
            let endless = Incoming("app.json") {
                var first = Array("{\"a\":[".utf8)
                return { defer { first = Array(String(repeating: "[],", count: 1000).utf8) }; return first }
            }
            try refused("app.json holds more than this app has memory for.") { _ = try store.add("x", [endless]) }
            let more = peakMegabytes() - before
            if more > 64 { throw Wrong(description: "\(more) MB") }
        }
        try opened(app)
    }
}

func once(_ bytes: [UInt8]) -> Bytes {
    var rest = bytes
    return { defer { rest = [] }; return rest }
}

/// Files of a folder as a picker lists them; `changed`: bytes in place of a file's.
func incoming(_ app: URL, _ prefix: String = "", changed: [String: [UInt8]] = [:]) throws -> [Incoming] {
    try FileManager.default.subpathsOfDirectory(atPath: app.path).filter { name in
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: app.path + "/" + name, isDirectory: &isFolder) && !isFolder.boolValue
    }.map { name in
        if let bytes = changed[name] { return Incoming(prefix + name) { once(bytes) } }
        return Incoming(prefix + name, file: app.appendingPathComponent(name))
    }
}

func flipped(_ bytes: Data) -> Data {
    var out = bytes
    out[out.count / 2] ^= 1
    return out
}

private func kept(_ store: ModelStore, _ app: URL) throws {
    try equal(store.list().count, 0)
    var shares: [Double] = []
    let stored = try store.add("My stories", incoming(app), progress: { shares.append($0) })
    try equal(shares.last, 1)
    try equal(shares, shares.sorted())
    try equal(store.list(), [stored])
    let described = try ModelFolder(stored.folder).description
    let app = try Data(contentsOf: app.appendingPathComponent("app.json")).count
    try equal(stored.bytes, described.bytes + app)
    try equal(store.needed(stored), described.memory(2048)) // all that this model reads
    _ = try store.add("My stories", incoming(stored.folder))
    try equal(store.list().map(\.name), ["My stories"])
    try store.delete("My stories")
    try equal(store.list().count, 0)
}

private func damaged(_ store: ModelStore, _ app: URL) throws {
    let good = try store.add("x", incoming(app))
    let name = "text/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    let data = try Data(contentsOf: app.appendingPathComponent(name))
    for (words, bytes) in [("is damaged", flipped(data)), ("bytes fewer than", data.prefix(9)), ("has more than", data + [1])] {
        try refused("\(name) ") { _ = try store.add("x", incoming(app, changed: [name: Array(bytes)])) }
        try refused(words) { _ = try store.add("x", incoming(app, changed: [name: Array(bytes)])) }
        try ModelFolder(good.folder).check()
        try equal(store.list(), [good])
    }
    let endless = try incoming(app).map { one in
        one.path != name ? one : Incoming(name) { { [UInt8](repeating: 7, count: 1 << 16) } }
    }
    try refused("has more than ") { _ = try store.add("x", endless) }
    try store.delete("x")
}

private func ended(_ place: URL, _ app: URL) throws {
    let root = place.appendingPathComponent("ended")
    func there() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: root.path) }
    _ = try ModelStore(root).add("x", incoming(app))
    let (name, old) = (root.appendingPathComponent("x"), root.appendingPathComponent(".old.x"))
    try FileManager.default.moveItem(at: name, to: old)
    try FileManager.default.createDirectory(at: root.appendingPathComponent(".new"), withIntermediateDirectories: true)
    try equal(ModelStore(root).list().map(\.name), ["x"])
    try FileManager.default.copyItem(at: name, to: old)
    try equal(ModelStore(root).list().map(\.name), ["x"])
    try equal(there(), ["x"])
}
