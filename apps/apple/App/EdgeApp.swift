import EdgeCoreML
import EdgeKit
import EdgeMLX
import SwiftUI

@main struct EdgeApp: App {
    @State private var shelf = Shelf(ModelStore(modelFolder(), targets: ["coreml"] + mlxTargets), SavedNotes(), free: freeMemory, with: opened)
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            ChatView(shelf: shelf)
                .task { shelf.openLast() }
                .task { for await _ in memoryWarnings() { shelf.memoryWarning() } }
        }
        .onChange(of: phase) { _, now in
            switch now {
            case .background: shelf.background()
            case .active: shelf.foreground()
            default: break
            }
        }
    }
}

/// A model of this app, its compiled packages beside it: they go where it goes.
@Sendable private func opened(_ model: Stored) async throws -> any Decoding {
    if try target(of: model.folder) == "mlx" { return try await openMlx(model.folder) }
    return try await openModel(model.folder, compiled: model.folder.appendingPathComponent(".compiled", isDirectory: true))
}
