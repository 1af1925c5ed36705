import Foundation

/// What goes wrong for a reason that the user can act on: `message` is one sentence or two, in plain English.
public struct EdgeError: LocalizedError, Equatable, Sendable {
    public let message: String

    public init(_ message: String) { self.message = message }

    public var errorDescription: String? { message }
}
