import EdgeKit
import SwiftUI

/// How to answer.
struct SettingsView: View {
    @Binding var settings: AnswerSettings
    @Environment(\.dismiss) private var dismiss

    var body: some View {
        NavigationStack {
            Form {
                Toggle("As the model's publisher advises", isOn: advised)
                if settings.temperature != nil {
                    LabeledContent("Temperature") { Slider(value: temperature, in: 0...2) { Text("Temperature") } }
                }
                Stepper("At most \(settings.maxTokens) tokens", value: $settings.maxTokens, in: 64...4096, step: 64)
                Toggle("SnapKV for long prompts", isOn: $settings.snapkv)
                Toggle("Drafts by the first layers", isOn: $settings.drafts)
            }
            .navigationTitle("Settings")
            .toolbar { Button("Done") { dismiss() } }
        }
    }

    private var advised: Binding<Bool> {
        Binding { settings.temperature == nil } set: { settings.temperature = $0 ? nil : 0.7 }
    }

    private var temperature: Binding<Double> {
        Binding { settings.temperature ?? 0 } set: { settings.temperature = $0 }
    }
}
