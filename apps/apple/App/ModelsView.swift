import EdgeKit
import Foundation
import SwiftUI
import UniformTypeIdentifiers

/// The models of this device: add, choose, delete.
struct ModelsView: View {
    let shelf: Shelf
    @Environment(\.dismiss) private var dismiss
    @State private var picks = false
    @State private var problem: String?

    var body: some View {
        NavigationStack {
            List {
                ForEach(shelf.models) { model in
                    Button {
                        shelf.open(model.name)
                        dismiss()
                    } label: {
                        LabeledContent(model.name) { Text("\(megabytes(model.bytes)) MB") }
                    }
                    .swipeActions { delete(model) }
                    .contextMenu { delete(model) }
                }
                if let problem { Text(problem) }
            }
            .disabled(shelf.chat.isBusy)
            .overlay { if shelf.models.isEmpty { Text("Add a folder that edge app wrote of a model for Core ML.") } }
            .navigationTitle("Models")
            .toolbar {
                Button("Add a model", systemImage: "plus") { picks = true }
                Button("Done") { dismiss() }
            }
        }
        .fileImporter(isPresented: $picks, allowedContentTypes: [.folder]) { add($0) }
    }

    private func delete(_ model: Stored) -> some View {
        Button("Delete", systemImage: "trash", role: .destructive) {
            do { try shelf.delete(model.name) } catch { problem = error.localizedDescription }
        }
    }

    private func add(_ result: Result<URL, any Error>) {
        do {
            shelf.add(try result.get())
            dismiss()
        } catch {
            problem = error.localizedDescription
        }
    }
}
