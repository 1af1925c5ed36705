import Foundation

/// An open model on a queue of its own, so that the screen goes on while it answers: one answer after the other.
package final class ModelQueue: Decoding, @unchecked Sendable { // the model is touched on the queue alone
    private let queue = DispatchQueue(label: "edge.model", qos: .userInitiated)
    private var model: OpenModel?

    /// Open a model there. What it is read for takes seconds.
    package init(_ open: @escaping @Sendable () throws -> OpenModel) async throws {
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            queue.async {
                done.resume(with: Result { self.model = try open() })
            }
        }
    }

    package func reply(to messages: [Message], settings: AnswerSettings) -> AsyncThrowingStream<Reply, any Error> {
        AsyncThrowingStream { stream in
            let stop = Flag()
            stream.onTermination = { _ in stop.set() }
            queue.async {
                do {
                    guard let model = self.model else { throw EdgeError("The model is closed.") }
                    let answer = try model.answer(messages, settings, stopped: { stop.isSet }) { stream.yield(.piece($0)) }
                    stream.yield(.done(answer))
                    stream.finish()
                } catch {
                    stream.finish(throwing: error)
                }
            }
        }
    }

    package func selfTest() async throws -> String? {
        let stop = Flag()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (done: CheckedContinuation<String?, any Error>) in
                queue.async { done.resume(with: Result { try self.model?.selfTest { stop.isSet } }) }
            }
        } onCancel: {
            stop.set()
        }
    }

    package func close() async {
        await withCheckedContinuation { done in
            queue.async {
                self.model = nil
                done.resume()
            }
        }
    }
}

/// A sign that one thread gives another.
final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var given = false

    var isSet: Bool { lock.withLock { given } }

    func set() { lock.withLock { given = true } }
}
