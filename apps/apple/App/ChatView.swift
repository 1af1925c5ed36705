import EdgeKit
import Foundation
import SwiftUI
import UniformTypeIdentifiers

/// The conversation, and what is said next.
struct ChatView: View {
    let shelf: Shelf
    @State private var text = ""
    @State private var settings = AnswerSettings()
    @State private var sheet: Sheet?
    @State private var picksText = false
    @State private var problem: String?

    private enum Sheet: String, Identifiable, CaseIterable {
        case models, settings

        var id: String { rawValue }
    }

    var body: some View {
        NavigationStack {
            VStack {
                Conversation(chat: shelf.chat)
                Status(shelf: shelf)
                if let document = shelf.chat.attached {
                    HStack {
                        Label(document.name, systemImage: "doc.text")
                        Button("Remove", systemImage: "xmark") { shelf.chat.attached = nil }.labelStyle(.iconOnly)
                    }
                }
                entry
            }
            .padding()
            .navigationTitle("Edge")
            .toolbar {
                Button("Models", systemImage: "square.stack") { sheet = .models }
                Button("Settings", systemImage: "slider.horizontal.3") { sheet = .settings }
                Button("New conversation", systemImage: "square.and.pencil") { shelf.chat.clear() }.disabled(shelf.chat.isBusy)
                ShareLink(item: written(shelf.chat.lines))
            }
        }
        .sheet(item: $sheet) { sheet in
            switch sheet {
            case .models: ModelsView(shelf: shelf)
            case .settings: SettingsView(settings: $settings)
            }
        }
        .fileImporter(isPresented: $picksText, allowedContentTypes: [.plainText]) { attach($0) }
        .alert("That did not work", isPresented: Binding { problem != nil } set: { _ in problem = nil }) {
            Button("OK") {}
        } message: {
            Text(problem ?? "")
        }
        .onChange(of: shelf.chat.state) { _, state in restore(state) }
    }

    private var entry: some View {
        HStack {
            Button("Attach a text", systemImage: "paperclip") { picksText = true }.labelStyle(.iconOnly)
            TextField("Message", text: $text, axis: .vertical).onSubmit { send() }
            if shelf.chat.isBusy {
                Button("Stop", systemImage: "stop.fill") { shelf.chat.stop() }.labelStyle(.iconOnly)
            } else {
                Button("Send", systemImage: "arrow.up.circle.fill") { send() }.labelStyle(.iconOnly).disabled(!shelf.chat.isReady)
            }
        }
    }

    private func send() {
        if shelf.chat.send(text, settings) { text = "" }
    }

    /// What got no answer comes back, unless something else was written meanwhile.
    private func restore(_ state: ChatState) {
        switch state {
        case .done(_, let unsent?), .failed(_, let unsent?): if text.isEmpty { text = unsent }
        default: break
        }
    }

    private func attach(_ result: Result<URL, any Error>) {
        do { shelf.chat.attached = try picked(result.get(), document) } catch { problem = error.localizedDescription }
    }
}

/// A conversation as text, in no language of its own: what was asked is quoted.
private func written(_ lines: [Line]) -> String {
    lines.map { $0.role == "user" ? "> " + $0.shown.replacingOccurrences(of: "\n", with: "\n> ") : $0.shown }.joined(separator: "\n\n")
}
