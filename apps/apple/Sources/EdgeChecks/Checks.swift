import EdgeKit
import Foundation

/// Runs checks one by one, says which of them fail, and how many there were.
@MainActor final class Checks {
    private var passed = 0
    private var failed = 0

    func check(_ name: String, _ block: () throws -> Void) { ended(name, Result(catching: block)) }

    func check(_ name: String, _ block: () async throws -> Void) async {
        do { ended(name, .success(try await block())) } catch { ended(name, .failure(error)) }
    }

    func end() -> Bool {
        print("\(passed) passed, \(failed) failed")
        return passed > 0 && failed == 0
    }

    private func ended(_ name: String, _ result: Result<Void, any Error>) {
        defer { fflush(nil) } // what was said before a crash
        if case .failure(let problem) = result {
            failed += 1
            print("FAILED \(name.first(200)): \(problem)")
        } else {
            passed += 1
        }
    }
}

struct Wrong: Error, CustomStringConvertible {
    let description: String
}

func equal<T: Equatable>(_ found: T, _ wanted: T, _ about: String = "") throws {
    if found != wanted { throw Wrong(description: "\(about): found \("\(found)".first(400)), wanted \("\(wanted)".first(400))") }
}

/// Texts of the same code points: to Swift's own comparison more are alike.
func exactly(_ found: [String], _ wanted: [String]) throws {
    try equal(found.map { Array($0.utf8) }, wanted.map { Array($0.utf8) }, "\(found) for \(wanted)")
}

/// That this is refused, in words that hold `words`.
func refused(_ words: String, _ block: () throws -> Void) throws {
    do { try block() } catch let error as EdgeError {
        if !error.message.contains(words) { throw Wrong(description: "found \"\(error.message)\", wanted \"\(words)\"") }
        if error.message.count > 400 { throw Wrong(description: "\(error.message.count) letters are no sentence") }
        return
    }
    throw Wrong(description: "nothing was refused: \(words)")
}

func seconds(_ block: () throws -> Void) rethrows -> Double {
    let start = Date()
    try block()
    return Date().timeIntervalSince(start)
}

/// What a model answers to a conversation at temperature 0, in at most so many tokens.
func said(_ model: any Decoding, _ talk: [Message], tokens: Int) async throws -> String {
    var text = ""
    for try await reply in model.reply(to: talk, settings: AnswerSettings(temperature: 0, maxTokens: tokens)) {
        if case .piece(let piece) = reply { text += piece }
    }
    return text
}
