import Foundation

public struct Text: Plain {
    let text: String

    public init(_ key: LocalizedStringKey) { text = key.text }
    @_disfavoredOverload public init(_ text: some StringProtocol) { self.text = String(text) }

    public func walk(_ found: Found) { found.lines.append("text: \(text)") }
}

public struct Label: Plain {
    let text: String

    @_disfavoredOverload public init(_ text: some StringProtocol, systemImage: String) { self.text = String(text) }
    public init(_ key: LocalizedStringKey, systemImage: String) { text = key.text }

    public func walk(_ found: Found) { found.lines.append("text: \(text)") }
}

public enum ButtonRole: Sendable { case destructive, cancel }

public struct Button<Content: View>: Plain {
    let content: Content

    public init(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Content) { content = label() }

    public func walk(_ found: Found) {
        let inner = Found()
        content.walk(inner)
        found.lines.append("button: \(inner.lines.map { $0.replacingOccurrences(of: "text: ", with: "") }.joined(separator: ", "))")
    }
}

extension Button where Content == Text {
    public init(_ key: LocalizedStringKey, action: @escaping @MainActor () -> Void) { content = Text(key) }

    public init(_ key: LocalizedStringKey, systemImage: String, role: ButtonRole? = nil, action: @escaping @MainActor () -> Void) {
        content = Text(key)
    }
}

public struct TextField: Plain {
    let title: String

    public init(_ key: LocalizedStringKey, text: Binding<String>, axis: Axis = .horizontal) { title = key.text }

    public func walk(_ found: Found) { found.lines.append("field: \(title)") }
}

public enum Axis: Sendable { case horizontal, vertical }

public struct ProgressView: Plain {
    let title: String

    public init(_ key: LocalizedStringKey) { title = key.text }
    public init(_ key: LocalizedStringKey, value: Double?) { title = key.text }

    public func walk(_ found: Found) { found.lines.append("progress: \(title)") }
}

public struct Toggle: Plain {
    let title: String

    public init(_ key: LocalizedStringKey, isOn: Binding<Bool>) { title = key.text }

    public func walk(_ found: Found) { found.lines.append("toggle: \(title)") }
}

public struct Slider: Plain {
    let label: Text

    public init(value: Binding<Double>, in range: ClosedRange<Double>, label: () -> Text) { self.label = label() }

    public func walk(_ found: Found) { found.lines.append("slider: \(label.text)") }
}

public struct Stepper: Plain {
    let title: String

    public init(_ key: LocalizedStringKey, value: Binding<Int>, in range: ClosedRange<Int>, step: Int) { title = key.text }

    public func walk(_ found: Found) { found.lines.append("stepper: \(title)") }
}

public struct ShareLink: Plain {
    public init(item: String) {}

    public func walk(_ found: Found) { found.lines.append("button: Share") }
}

public struct LabeledContent<Content: View>: Plain {
    let title: String
    let content: Content

    public init(_ key: LocalizedStringKey, @ViewBuilder content: () -> Content) { (title, self.content) = (key.text, content()) }

    public func walk(_ found: Found) {
        found.lines.append("text: \(title)")
        content.walk(found)
    }
}

extension LabeledContent where Content == Text {
    @_disfavoredOverload public init(_ title: some StringProtocol, content: () -> Content) {
        (self.title, self.content) = (String(title), content())
    }
}

public struct ForEach<Items: RandomAccessCollection, Content: View>: Plain where Items.Element: Identifiable {
    let items: Items
    let content: (Items.Element) -> Content

    public init(_ items: Items, @ViewBuilder content: @escaping (Items.Element) -> Content) { (self.items, self.content) = (items, content) }

    public func walk(_ found: Found) { for item in items { content(item).walk(found) } }
}
