import EdgeKit
import SwiftUI

/// What was said, and what is being answered.
struct Conversation: View {
    let chat: ChatModel

    var body: some View {
        ScrollView {
            LazyVStack(alignment: .leading) {
                ForEach(chat.lines) { line in
                    Said(role: line.role, text: line.shown)
                }
                if case .writing(let text) = chat.state { Said(role: "assistant", text: text) }
            }
        }
        .defaultScrollAnchor(.bottom)
    }
}

/// One message; it can be selected and copied, and is read out with who said it.
private struct Said: View {
    let role: String
    let text: String

    var body: some View {
        Text(text)
            .textSelection(.enabled)
            .padding()
            .background(.quaternary, in: .rect(cornerRadius: 12))
            .frame(maxWidth: .infinity, alignment: role == "user" ? .trailing : .leading)
            .accessibilityLabel(role == "user" ? Text("You: \(text)") : Text("Answer: \(text)"))
    }
}

/// What is going on, in words.
struct Status: View {
    let shelf: Shelf

    var body: some View {
        if let warning = shelf.chat.warning { Label(warning, systemImage: "exclamationmark.triangle") }
        switch shelf.chat.state {
        case .empty: Text("No model is open. Add one, or choose one of yours.")
        case .copying(let share): ProgressView("Copying the model", value: share)
        case .opening(let name): ProgressView("Opening \(name)")
        case .testing(let name): ProgressView("Testing \(name) on this device")
        case .ready(let name): Text("\(name) is ready.")
        case .writing: ProgressView("Answering")
        case .done(let rate, _): if rate > 0 { Text("\(rate, specifier: "%.1f") tokens a second") }
        case .failed(let why, _): Text(why)
        case .fell(let name):
            Text("The app ended when it last opened \(name).")
            Button("Open it anyway") { shelf.open(name, anyway: true) }
        case .tooLarge(let name, let needed, let free):
            Text("\(name) takes \(megabytes(needed)) MB of memory, and \(megabytes(free)) MB are free.")
            Button("Open it anyway") { shelf.open(name, anyway: true) }
        }
    }
}

func megabytes(_ bytes: Int) -> Int { bytes / 1_000_000 }
