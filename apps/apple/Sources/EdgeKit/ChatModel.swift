import Foundation
import Observation

/// A conversation with a model, without its screen. What is asked while it is busy is refused: `send` says so.
@MainActor @Observable public final class ChatModel {
    public private(set) var state = ChatState.empty
    public private(set) var lines: [Line] = []
    /// What a user should know of the model that is open: that this device does not compute what it must.
    public private(set) var warning: String?
    /// Goes along with the next message.
    public var attached: Document?

    public var isBusy: Bool { running != nil }
    public var isReady: Bool { model != nil }

    private var model: (name: String, decoding: any Decoding)?
    @ObservationIgnored private var after: Task<Void, Never>? // the last that runs, or closes a model
    private var running: Task<Void, Never>?
    private var writes = false
    @ObservationIgnored private var releases = false
    private var count = 0 // of lines
    @ObservationIgnored private var started = 0

    public init() {}

    /// Open a model in place of the one that is open. `doubt`, asked once that one is closed, may say why not to; `test` what is
    /// wrong with the one that was opened.
    public func open(
        _ name: String, doubt: @escaping @Sendable () throws -> ChatState? = { nil },
        test: (@Sendable (any Decoding) async throws -> String?)? = nil, with open: @escaping @Sendable () async throws -> any Decoding
    ) {
        if isBusy { return }
        close() // first: there is rarely memory for two
        start(.opening(name: name)) { [self] in
            if let instead = try doubt() {
                state = instead
                return
            }
            let opened = try await open()
            if Task.isCancelled {
                await opened.close()
                state = .empty
            } else {
                model = (name, opened)
                if let test {
                    state = .testing(name: name)
                    warning = await result(of: test, opened)
                }
                state = .ready(name: name)
            }
        }
    }

    /// Copy a model, and what to do with its name then. `copy` tells how far it is, and ends early where its task is cancelled.
    public func copy(
        _ copy: @escaping @Sendable (_ progress: @escaping @Sendable (Double) -> Void) async throws -> String,
        then: @escaping @MainActor (String) -> Void
    ) {
        let before = state
        start(.copying(0)) { [self] in
            let (shares, told) = AsyncStream.makeStream(of: Double.self, bufferingPolicy: .bufferingNewest(1))
            let watch = Task { for await share in shares where isBusy { state = .copying(share) } }
            defer { watch.cancel() }
            do {
                let name = try await copy { told.yield($0) }
                told.finish()
                await watch.value
                state = before
                running = nil // so that it can be opened
                then(name)
            } catch {
                told.finish()
                await watch.value
                if !Task.isCancelled { throw error }
                state = before
            }
        }
    }

    /// Send a message, with what is attached; false where none can be sent now.
    @discardableResult
    public func send(_ text: String, _ settings: AnswerSettings = AnswerSettings()) -> Bool {
        guard let decoding = model?.decoding, !isBusy, !trimmed(text).isEmpty else { return false }
        let document = attached
        say("user", document.map { "\($0.text)\n\n\(text)" } ?? text, shown: document.map { "\($0.name)\n\(text)" } ?? text)
        let messages = lines.map { Message($0.role, $0.text) }
        attached = nil
        start(.writing(""), writes: true) { [self] in
            var (said, rate) = ("", 0.0)
            var problem: (any Error)?
            do {
                for try await reply in decoding.reply(to: messages, settings: settings) {
                    switch reply {
                    case .piece(let piece):
                        said += piece
                        if !Task.isCancelled { state = .writing(said) }
                    case .done(let answer): rate = answer.tokensPerSecond
                    }
                }
            } catch {
                problem = error
            }
            // A model may end its answer with its first token, or say blanks alone: that is nothing to show, or to go on from.
            let isEmpty = trimmed(said).isEmpty
            if problem == nil && isEmpty { problem = EdgeError("The model gave no answer. Ask in other words.") }
            let failed = problem != nil && !Task.isCancelled
            let unsent = isEmpty || failed ? text : nil
            if unsent == nil { say("assistant", said, shown: said) } else {
                lines.removeLast()
                attached = attached ?? document
            }
            state = failed ? .failed(words(problem), unsent: unsent) : .done(tokensPerSecond: rate, unsent: unsent)
        }
        return true
    }

    /// Stop what runs, as soon as it asks. What was answered stays.
    public func stop() { running?.cancel() }

    /// The app is no longer seen: an answer or a test stops, as a system ends apps that go on computing then. A copy goes on.
    public func background() { if writes || isTesting { stop() } }

    /// Forget the conversation.
    public func clear() {
        if isBusy { return }
        lines = []
        if let model { state = .ready(name: model.name) }
    }

    /// Close the model, to have its memory.
    public func empty() {
        if isBusy { return }
        close()
        state = .empty
    }

    /// Close the model to have its memory, once what runs has ended. What was said stays.
    public func release() {
        releases = isBusy
        if isBusy || model == nil { return }
        close()
        if case .ready = state { state = .empty }
    }

    /// Do not close it at the end of what runs after all.
    public func keep() { releases = false }

    /// When nothing runs any more: for tests, and before an app is ended.
    public func settled() async {
        while let last = after {
            await last.value
            if after == last { after = nil }
        }
    }

    private func close() {
        guard let closed = model?.decoding else { return }
        (model, warning) = (nil, nil)
        let before = after
        after = Task {
            await before?.value
            await closed.close()
        }
    }

    /// Run one thing after what runs; a problem of it is told in words.
    private func start(_ first: ChatState, writes: Bool = false, _ body: @escaping @MainActor () async throws -> Void) {
        if isBusy { return }
        let before = after
        started += 1
        let number = started
        state = first
        self.writes = writes
        let task = Task {
            await before?.value
            do { try await body() } catch { state = Task.isCancelled ? .empty : .failed(words(error), unsent: nil) }
            if number != started { return } // another one began at its end
            (running, self.writes) = (nil, false)
            if releases { release() }
        }
        (running, after) = (task, task)
    }

    private var isTesting: Bool { if case .testing = state { true } else { false } }

    private func say(_ role: String, _ text: String, shown: String) {
        count += 1
        lines.append(Line(id: count, role: role, text: text, shown: shown))
    }
}

/// What went wrong, as a user reads it.
private func words(_ error: (any Error)?) -> String { error?.localizedDescription ?? "" }

private func result(of test: @Sendable (any Decoding) async throws -> String?, _ decoding: any Decoding) async -> String? {
    do { return try await test(decoding) } catch { return "The model could not be tested on this device: \(words(error))" }
}
