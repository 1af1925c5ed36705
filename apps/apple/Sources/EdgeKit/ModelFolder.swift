import Foundation

/// The folder that `edge app` wrote, on this device: refused with an `EdgeError` where it is not whole.
package struct ModelFolder {
    package static let app = "app.json"
    static let again = "Add the model again."
    static let noModel = "There is no app.json: choose a folder that `edge app` wrote."

    package let folder: URL
    package let description: Description

    package init(_ folder: URL) throws {
        self.folder = folder
        description = try Self.described(EdgeKit.bytes(of: file(Self.app, in: folder)))
    }

    package static func described(_ bytes: @escaping Bytes) throws -> Description {
        try Description(Json.read(bytes, app, most: MOST))
    }

    /// Check that all files have their sizes, and hash those that are read into this process. The weights were hashed when
    /// they were copied; here it would cost seconds for every gigabyte.
    package func check() throws {
        for named in description.files {
            let url = try file(named.name, in: folder)
            let bytes = try url.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0
            if bytes != named.bytes {
                throw EdgeError("\(named.name) has \(bytes) bytes and should have \(named.bytes). \(Self.again)")
            }
            if bytes <= SMALL { try Self.checkHash(named, hashed(EdgeKit.bytes(of: url))) }
        }
    }

    package func tokenizer() throws -> Tokenizer {
        let name = description.tokenizer.name
        return try Tokenizer(Json.read(EdgeKit.bytes(of: file(name, in: folder)), name))
    }

    /// What this device must compute with the model; nil where nothing says it.
    package func selfTest() throws -> SelfTest? {
        guard let name = description.selfTest?.name else { return nil }
        return try SelfTest(Json.read(EdgeKit.bytes(of: file(name, in: folder)), name, most: MOST), description.sizes)
    }

    static func checkHash(_ named: Named, _ found: String) throws {
        if found != named.sha256 { throw EdgeError("\(named.name) is damaged: its hash is not what app.json says. \(again)") }
    }
}

/// What a model is for: the name of a target of `edge convert`.
public func target(of folder: URL) throws -> String { try ModelFolder(folder).description.target }

private let SMALL = 64 << 20
private let MOST = 32 << 20 // bytes in memory that the values of an app.json may take

private func file(_ name: String, in folder: URL) throws -> URL {
    let url = folder.appendingPathComponent(name)
    var isFolder: ObjCBool = false
    if !FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) || isFolder.boolValue {
        throw EdgeError(name == ModelFolder.app ? ModelFolder.noModel : "The file \(name) is missing. \(ModelFolder.again)")
    }
    return url
}
