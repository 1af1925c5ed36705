/// What the screen shows: one of these at a time. Sizes are in bytes.
public enum ChatState: Sendable, Equatable {
    /// No model is open.
    case empty
    /// A model's files are copied and checked; this share of them, between 0 and 1, is done.
    case copying(Double)
    /// A model that is not opened, as it takes more memory than is free.
    case tooLarge(name: String, needed: Int, free: Int)
    /// A model that is not opened, as the app ended when it last was.
    case fell(name: String)
    case opening(name: String)
    /// Whether this device computes what it must.
    case testing(name: String)
    case ready(name: String)
    /// What there is of the answer.
    case writing(String)
    /// `unsent`: what was asked, where it was stopped before a word of an answer.
    case done(tokensPerSecond: Double, unsent: String?)
    /// In words. `unsent` is what got no answer, for another try.
    case failed(String, unsent: String?)
}

/// What is said: `text` goes to the model, `shown` on the screen, where a document is its name alone.
public struct Line: Sendable, Equatable, Identifiable {
    public let id: Int
    public let role: String
    public let text: String
    public let shown: String
}

/// A text that goes along with a message.
public struct Document: Sendable, Equatable {
    public let name: String
    public let text: String

    public init(name: String, text: String) { (self.name, self.text) = (name, text) }
}
