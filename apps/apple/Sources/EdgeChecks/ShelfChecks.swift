import EdgeKit
import Foundation

/// Notes that last as long as these checks.
private final class Kept: Notes, @unchecked Sendable {
    private let lock = NSLock()
    private var all: [String: String] = [:]

    func note(_ key: String) -> String? { lock.withLock { all[key] } }

    func note(_ text: String?, as key: String) { lock.withLock { all[key] = text } }
}

extension Checks {
    /// Models are added, opened, doubted and deleted as a user sees it. `app`: a folder that `edge app` wrote.
    func shelf(_ app: URL, _ place: URL) async throws {
        let store = ModelStore(place.appendingPathComponent("shelf"))
        let notes = Kept()
        func shelf(free: Int = .max, problem: EdgeError? = nil, system: String = "1", fake: FakeDecoding? = nil) -> Shelf {
            Shelf(store, notes, system: system, free: { free }) { _ in
                if let problem { throw problem }
                return fake ?? FakeDecoding()
            }
        }
        await check("a model is added from a folder, opened, and opened again by the next start") {
            let first = shelf()
            first.openLast()
            try equal(first.chat.state, .empty)
            first.add(app)
            await first.chat.settled()
            let name = app.lastPathComponent
            try equal(first.chat.state, .ready(name: name))
            try equal(first.models.map(\.name), [name])
            let next = shelf()
            next.openLast()
            await next.chat.settled()
            try equal(next.chat.state, .ready(name: name))
        }
        await check("a copy that is stopped leaves nothing, and the conversation as it was") {
            let it = shelf()
            it.add(app)
            it.chat.stop()
            await it.chat.settled()
            try equal(it.chat.state, .empty)
            try equal(FileManager.default.contentsOfDirectory(atPath: place.path + "/shelf"), [app.lastPathComponent])
        }
        await check("a folder without a model is refused in words") {
            let it = shelf()
            it.add(place.appendingPathComponent("shelf"))
            await it.chat.settled()
            guard case .ready = it.chat.state else { throw Wrong(description: "\(it.chat.state)") } // one lies below
            it.add(app.appendingPathComponent("text"))
            await it.chat.settled()
            guard case .failed(let why, _) = it.chat.state, why.contains("no app.json") else { throw Wrong(description: "\(it.chat.state)") }
            try store.delete("shelf")
        }
        await check("what does not fit is said, and tried where that is asked for") {
            let (it, name) = (shelf(free: 1000), app.lastPathComponent)
            it.open(name)
            await it.chat.settled()
            guard case .tooLarge(name, let needed, 1000) = it.chat.state, needed > 1000 else { throw Wrong(description: "\(it.chat.state)") }
            it.open(name, anyway: true)
            await it.chat.settled()
            try equal(it.chat.state, .ready(name: name))
        }
        await check("a model at which the app ended is not opened by itself") {
            let (it, name) = (shelf(), app.lastPathComponent)
            notes.note(name, as: "opening")
            it.openLast()
            await it.chat.settled()
            try equal(it.chat.state, .fell(name: name))
            it.open(name, anyway: true)
            await it.chat.settled()
            try equal(notes.note("opening"), nil)
            let broken = shelf(problem: EdgeError("It is broken."))
            broken.open(name)
            await broken.chat.settled()
            try equal(broken.chat.state, .failed("It is broken.", unsent: nil))
            try equal(notes.note("opening"), nil)
        }
        await check("a device is tested once with a model, and again by another system or with another copy") {
            let name = app.lastPathComponent
            @MainActor func tested(_ system: String, _ wanted: Int, doubt: String? = nil, adds: Bool = false) async throws {
                let fake = FakeDecoding(doubt: doubt)
                let it = shelf(system: system, fake: fake)
                if adds { it.add(app) } else { it.open(name) }
                await it.chat.settled()
                try await equal(fake.tests, wanted, "\(system) \(adds)")
            }
            for (system, wanted) in [("1", 0), ("2", 1), ("2", 0)] { try await tested(system, wanted) }
            try await tested("2", 1, adds: true)
            try await tested("2", 0)
            try await tested("3", 1, doubt: "It is wrong.")
            for wanted in [1, 0] { try await tested("3", wanted) }
            try equal(notes.note("opening"), nil)
            let it = shelf(system: "4", fake: FakeDecoding(pause: .seconds(60)))
            it.open(name)
            while it.chat.state != .testing(name: name) { try await Task.sleep(for: .milliseconds(1)) }
            try equal(notes.note("opening"), name) // an app may end there
            it.chat.stop()
            await it.chat.settled()
            for wanted in [1, 0] { try await tested("4", wanted) }
        }
        await check("where memory is short the model of an app that is not seen is closed, and opened when it is seen") {
            let (name, fake) = (app.lastPathComponent, FakeDecoding("One two three.", pause: .milliseconds(20)))
            let it = shelf(fake: fake)
            it.open(name)
            await it.chat.settled()
            it.memoryWarning() // seen: it is in use
            await it.chat.settled()
            try equal(it.chat.isReady, true)
            it.chat.send("Hi")
            it.background()
            it.memoryWarning() // it still writes
            await it.chat.settled()
            try await equal([fake.closed, it.chat.isReady, it.chat.isBusy], [true, false, false])
            let lines = it.chat.lines
            it.foreground()
            await it.chat.settled()
            try equal(it.chat.state, .ready(name: name))
            try equal(it.chat.lines, lines)
            it.background()
            it.memoryWarning()
            try equal(it.chat.state, .empty)
            it.memoryWarning()
            it.foreground()
            await it.chat.settled()
            try equal(it.chat.state, .ready(name: name))
            it.background()
            it.foreground() // nothing was closed
            try equal(it.chat.state, .ready(name: name))
            it.background()
            it.open(name)
            it.memoryWarning() // while it is opened
            await it.chat.settled()
            try equal(it.chat.isReady, false)
            it.open(name)
            it.memoryWarning()
            it.foreground() // before it was closed
            await it.chat.settled()
            try equal(it.chat.isReady, true)
        }
        await check("a model that is open is closed, then deleted") {
            let (it, name) = (shelf(), app.lastPathComponent)
            it.openLast()
            await it.chat.settled()
            try it.delete(name)
            await it.chat.settled()
            try equal([it.models.count, it.chat.isReady ? 1 : 0], [0, 0])
            try equal(notes.note("last"), nil)
        }
    }
}
