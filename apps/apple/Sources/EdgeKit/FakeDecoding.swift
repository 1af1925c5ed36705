/// Answers with a fixed text, word by word, for tests and previews of screens.
public actor FakeDecoding: Decoding {
    private let words: [String]
    private let pause: Duration
    private let problem: EdgeError?
    private let doubt: String?
    public private(set) var closed = false
    public private(set) var tests = 0
    public private(set) var asked: [[Message]] = []

    /// `pause`: before each word, and in a test. `problem`: is thrown in place of an answer. `doubt`: what the test finds.
    public init(_ text: String = "This is an answer.", pause: Duration = .zero, problem: EdgeError? = nil, doubt: String? = nil) {
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        words = parts.indices.map { $0 + 1 < parts.count ? parts[$0] + " " : String(parts[$0]) }
        (self.pause, self.problem, self.doubt) = (pause, problem, doubt)
    }

    public nonisolated func reply(to messages: [Message], settings: AnswerSettings) -> AsyncThrowingStream<Reply, any Error> {
        AsyncThrowingStream { stream in
            let task = Task { await self.answer(messages, settings, stream) }
            stream.onTermination = { _ in task.cancel() }
        }
    }

    public func selfTest() async throws -> String? {
        tests += 1
        try? await Task.sleep(for: pause)
        return doubt
    }

    public func close() { closed = true }

    private func answer(
        _ messages: [Message], _ settings: AnswerSettings, _ stream: AsyncThrowingStream<Reply, any Error>.Continuation
    ) async {
        asked.append(messages)
        if let problem { return stream.finish(throwing: problem) }
        var said: [String] = []
        for word in words.prefix(settings.maxTokens) {
            try? await Task.sleep(for: pause)
            if Task.isCancelled { break }
            said.append(word)
            stream.yield(.piece(word))
        }
        let whole = said.count == min(words.count, settings.maxTokens)
        let answer = Answer(
            text: said.joined(), tokens: said.count, firstSeconds: pause / Duration.seconds(1),
            tokensPerSecond: pause > .zero ? Duration.seconds(1) / pause : 0, stopped: !whole)
        stream.yield(.done(answer))
        stream.finish()
    }
}
