import Foundation
import Observation

/// A few words that outlast the app; nil takes one away.
public protocol Notes: Sendable {
    func note(_ key: String) -> String?
    func note(_ text: String?, as key: String)
}

/// The models of this device beside the conversation with one of them.
///
/// A model is opened by its name, unless there is reason to doubt that the device can: the system ends an app that takes too
/// much memory, without a word to it.
@MainActor @Observable public final class Shelf {
    public let chat = ChatModel()
    public private(set) var models: [Stored] = []

    private var isSeen = true
    private var wasReleased = false
    private let store: ModelStore
    private let notes: any Notes
    private let system: String
    private let free: @Sendable () -> Int
    private let with: @Sendable (Stored) async throws -> any Decoding

    /// `system`: what models are compiled by, as far as the app knows. `free`: bytes of memory that the app may have yet. `with`:
    /// opens a model.
    public init(
        _ store: ModelStore, _ notes: any Notes, system: String = ProcessInfo.processInfo.operatingSystemVersionString,
        free: @escaping @Sendable () -> Int, with: @escaping @Sendable (Stored) async throws -> any Decoding
    ) {
        (self.store, self.notes, self.system, self.free, self.with) = (store, notes, system, free, with)
        models = store.list()
    }

    /// Open the model that was open when the app was last used.
    public func openLast() {
        if let last = notes.note(LAST) ?? models.first?.name { open(last) }
    }

    /// The app is no longer seen.
    public func background() {
        isSeen = false
        chat.background()
    }

    /// The app is seen again: what was closed meanwhile is opened.
    public func foreground() {
        isSeen = true
        chat.keep()
        if wasReleased && !chat.isReady { openLast() }
        wasReleased = false
    }

    /// The system is short of memory: the model of an app that is not seen is closed, before the system ends the app.
    public func memoryWarning() {
        if isSeen { return }
        wasReleased = wasReleased || chat.isReady || chat.isBusy
        chat.release()
    }

    /// Open a model, if it fits or is to be tried `anyway`.
    public func open(_ name: String, anyway: Bool = false) {
        guard !chat.isBusy, let model = models.first(where: { $0.name == name }) else { return }
        notes.note(name, as: LAST)
        wasReleased = false
        let (store, notes, system, free, with) = (store, notes, system, free, with)
        let doubt: @Sendable () throws -> ChatState? = {
            // Only here is the model that was open closed, and no longer counts against this one.
            if anyway { return nil }
            if notes.note(OPENING) == name { return .fell(name: name) }
            let (takes, there) = (try store.needed(model), free())
            return takes > there ? .tooLarge(name: name, needed: takes, free: there) : nil
        }
        // Once a system: where the app ends meanwhile the note stays, so that the next start does not end likewise.
        let test: @Sendable (any Decoding) async throws -> String? = { opened in
            notes.note(name, as: OPENING)
            defer { notes.note(nil, as: OPENING) }
            let problem = try await opened.selfTest()
            if problem == nil && !Task.isCancelled { notes.note(system, as: TESTED + name) }
            return problem
        }
        chat.open(name, doubt: doubt, test: notes.note(TESTED + name) == system ? nil : test) {
            notes.note(name, as: OPENING)
            defer { notes.note(nil, as: OPENING) }
            return try await with(model)
        }
    }

    /// Copy a model from a folder that was picked, and open it.
    public func add(_ folder: URL) {
        let store = store
        chat.copy({ progress in
            let stopped = Flag()
            return try await withTaskCancellationHandler {
                try await Task.detached { // a copy takes long
                    try picked(folder) { folder in
                        let files = try files(below: folder)
                        return try store.add(folder.lastPathComponent, files, progress: progress, stopped: { stopped.isSet }).name
                    }
                }.value
            } onCancel: {
                stopped.set()
            }
        }, then: { name in
            self.models = store.list()
            self.notes.note(nil, as: TESTED + name)
            self.open(name)
        })
    }

    /// Delete a model; the one that is open is closed before.
    public func delete(_ name: String) throws {
        if chat.isBusy { return }
        if notes.note(LAST) == name {
            chat.empty()
            notes.note(nil, as: LAST)
        }
        notes.note(nil, as: TESTED + name)
        try store.delete(name)
        models = store.list()
    }
}

private let LAST = "last"
private let OPENING = "opening"
private let TESTED = "tested." // and a model's name: by which system

/// All files below a folder, by their paths there.
private func files(below folder: URL) throws -> [Incoming] {
    let names = try FileManager.default.subpathsOfDirectory(atPath: folder.path)
    return names.map { Incoming($0, file: folder.appendingPathComponent($0)) }
}
