import Foundation

/// A model that is on this device.
public struct Stored: Sendable, Equatable, Identifiable {
    public let name: String
    public let folder: URL
    public let bytes: Int

    public var id: String { name }
}

/// One file of a model that a user picked: its path below the folder that was picked.
public struct Incoming {
    public let path: String
    let open: () throws -> Bytes

    package init(_ path: String, _ open: @escaping () throws -> Bytes) { (self.path, self.open) = (path, open) }

    public init(_ path: String, file: URL) { self.init(path) { try bytes(of: file) } }
}
