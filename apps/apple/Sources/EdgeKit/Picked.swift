import Foundation

/// Use a file or a folder that was picked, which is open to the app for so long.
public func picked<R>(_ url: URL, _ body: (URL) throws -> R) rethrows -> R {
    #if canImport(Darwin)
    let open = url.startAccessingSecurityScopedResource()
    defer { if open { url.stopAccessingSecurityScopedResource() } }
    #endif
    return try body(url)
}
