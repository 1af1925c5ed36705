import EdgeKit
import Foundation

/// A fault that is no `EdgeError`.
private struct Odd: Error {}

extension Checks {
    /// What a screen sees: it answers, stops, says what went wrong, and refuses what comes while it is busy.
    func chatModel() async {
        await check("an answer is written piece by piece, and said") {
            let (model, fake) = (ChatModel(), FakeDecoding("One two three."))
            try equal(model.send("early"), false)
            model.open("m") { fake }
            try equal(model.state, .opening(name: "m"))
            try equal(model.send("too early"), false)
            await model.settled()
            try equal(model.state, .ready(name: "m"))
            model.attached = Document(name: "a.txt", text: "A text.")
            try equal(model.send(" \n"), false)
            try equal(model.send("Hi"), true)
            try equal(model.send("again"), false)
            model.clear()
            model.open("other") { fake }
            await model.settled()
            try equal(model.lines.map(\.text), ["A text.\n\nHi", "One two three."])
            try equal(model.lines.map(\.shown), ["a.txt\nHi", "One two three."])
            try equal(model.attached, nil)
            try equal(model.state, .done(tokensPerSecond: 0, unsent: nil))
            model.send("More")
            await model.settled()
            try await equal(fake.asked.last?.map(\.role), ["user", "assistant", "user"])
            model.clear()
            try equal([model.lines.count, model.isReady ? 1 : 0], [0, 1])
            model.empty()
            await model.settled()
            try await equal([fake.closed, model.isReady], [true, false])
        }
        await check("an answer that is stopped stays, and the next is whole") {
            let model = ChatModel()
            model.open("m") { FakeDecoding("One two three four five.", pause: .milliseconds(30)) }
            await model.settled()
            model.send("Hi")
            while true {
                if case .writing(let text) = model.state, text.hasPrefix("One two ") { break }
                try await Task.sleep(for: .milliseconds(1))
            }
            model.background()
            await model.settled()
            try equal(model.lines.last?.text, "One two ")
            try equal(model.isBusy, false)
            model.send("Hi")
            model.stop() // before a word of it
            await model.settled()
            guard case .done(_, "Hi") = model.state else { throw Wrong(description: "\(model.state)") }
            try equal(model.lines.map(\.role), ["user", "assistant"])
        }
        await check("an answer without a word is told, and is none") {
            for text in ["", " \n"] {
                let model = ChatModel()
                model.open("m") { FakeDecoding(text) }
                await model.settled()
                model.send("Hi")
                await model.settled()
                try equal(model.state, .failed("The model gave no answer. Ask in other words.", unsent: "Hi"))
                try equal(model.lines.count, 0)
            }
        }
        await check("what a system refuses to an app that is not seen is no failure") {
            let model = ChatModel()
            model.open("m") { FakeDecoding(problem: EdgeError("Insufficient permission to submit GPU work.")) }
            await model.settled()
            model.send("Hi")
            model.background()
            await model.settled()
            try equal(model.state, .done(tokensPerSecond: 0, unsent: "Hi"))
        }
        await check("what went wrong is in words, and can be sent again") {
            let model = ChatModel()
            model.open("m") { throw EdgeError("It is damaged.") }
            await model.settled()
            try equal(model.state, .failed("It is damaged.", unsent: nil))
            model.open("m") { FakeDecoding(problem: EdgeError("It is too long.")) }
            await model.settled()
            model.attached = Document(name: "a", text: "b")
            model.send("Hi")
            await model.settled()
            try equal(model.state, .failed("It is too long.", unsent: "Hi"))
            try equal([model.lines.count, model.attached?.name == "a" ? 1 : 0], [0, 1])
            model.open("m") { throw Odd() }
            await model.settled()
            guard case .failed(let why, _) = model.state, !why.isEmpty else { throw Wrong(description: "\(model.state)") }
        }
        await check("a device that computes something else is told as long as the model is open") {
            let (model, fake) = (ChatModel(), FakeDecoding(doubt: "It is wrong."))
            model.open("m", test: { try await $0.selfTest() }) { fake }
            await model.settled()
            try equal(model.state, .ready(name: "m"))
            model.send("Hi")
            await model.settled()
            try equal(model.warning, "It is wrong.")
            model.open("n", test: { _ in throw EdgeError("No.") }) { FakeDecoding() }
            await model.settled()
            try equal(model.warning, "The model could not be tested on this device: No.")
            model.empty()
            try equal(model.warning, nil)
        }
        await check("a test is given up where the app is no longer seen") {
            let model = ChatModel()
            model.open("m", test: { try await $0.selfTest() }) { FakeDecoding(pause: .seconds(60), doubt: nil) }
            while model.state != .testing(name: "m") { try await Task.sleep(for: .milliseconds(1)) }
            model.background()
            await model.settled()
            try equal(model.state, .ready(name: "m"))
        }
        await check("a model that may not fit is not opened, and the one before is closed") {
            let (model, fake) = (ChatModel(), FakeDecoding())
            model.open("m") { fake }
            await model.settled()
            model.open("large", doubt: { .tooLarge(name: "large", needed: 2, free: 1) }) { throw Odd() }
            await model.settled()
            try equal(model.state, .tooLarge(name: "large", needed: 2, free: 1))
            try await equal(fake.closed, true)
        }
        await check("a copy tells how far it is, and its model is opened") {
            let model = ChatModel()
            model.copy({ progress in
                progress(0.5)
                return "new"
            }, then: { name in model.open(name) { FakeDecoding() } })
            try equal(model.state, .copying(0))
            await model.settled()
            try equal(model.state, .ready(name: "new"))
            model.copy({ _ in
                try await Task.sleep(for: .seconds(60))
                return "never"
            }, then: { _ in })
            model.background() // a copy goes on
            try equal(model.isBusy, true)
            model.stop()
            await model.settled()
            try equal(model.state, .ready(name: "new"))
        }
    }
}
