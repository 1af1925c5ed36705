/// A message of a conversation; `role` is "system", "user" or "assistant".
public struct Message: Sendable, Equatable {
    public let role: String
    public let text: String
    /// Shown where the text has `<image>`, or before it.
    public let pictures: [Picture]

    public init(_ role: String, _ text: String, pictures: [Picture] = []) { (self.role, self.text, self.pictures) = (role, text, pictures) }
}

/// How to answer. (SwiftUI has another thing of the name Settings, and Foundation of the name Stream.)
public struct AnswerSettings: Sendable, Equatable {
    /// Nil for what the model's publisher advises, 0 for the likeliest token always.
    public var temperature: Double?
    /// Cut the cache after a long prompt.
    public var snapkv: Bool
    /// Let the model's first layers draft, which changes no answer.
    public var drafts: Bool
    /// Of the answer.
    public var maxTokens: Int
    /// The same one draws the same tokens.
    public var seed: UInt64

    public init(temperature: Double? = nil, snapkv: Bool = false, drafts: Bool = false, maxTokens: Int = 512, seed: UInt64 = 0) {
        (self.temperature, self.snapkv, self.drafts, self.maxTokens, self.seed) = (temperature, snapkv, drafts, maxTokens, seed)
    }
}

/// An answer as it ended.
public struct Answer: Sendable, Equatable {
    public let text: String
    public let tokens: Int
    /// Seconds to the first token.
    public let firstSeconds: Double
    /// Of the tokens that followed; 0 where none did.
    public let tokensPerSecond: Double
    /// Whether whoever asked stopped it.
    public let stopped: Bool
}

/// What comes of a model that answers: text as soon as it is certain, and last how it ended.
public enum Reply: Sendable, Equatable {
    case piece(String)
    case done(Answer)
}

/// An open model, of which no answer begins before the one before it has ended.
public protocol Decoding: Sendable {
    /// Answer a conversation that ends with a user's message. The stream fails with an `EdgeError` where it does not fit, or
    /// cannot be written. Where the task that reads it is cancelled the answer stops before its next token, and no more comes.
    func reply(to messages: [Message], settings: AnswerSettings) -> AsyncThrowingStream<Reply, any Error>

    /// Whether this device computes what it must with the model: if it does not, what a user should know. Where the task that
    /// asks is cancelled it is given up.
    func selfTest() async throws -> String?

    /// Give its memory back, after what runs.
    func close() async
}
