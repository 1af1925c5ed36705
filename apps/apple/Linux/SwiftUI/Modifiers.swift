import Foundation
import UniformTypeIdentifiers

public protocol Shape: Sendable {}

public struct RoundedRectangle: Shape {}

extension Shape where Self == RoundedRectangle {
    public static func rect(cornerRadius: Double) -> RoundedRectangle { RoundedRectangle() }
}

public struct UnitPoint: Sendable { public static let bottom = UnitPoint() }

public struct Quaternary: Sendable {}

public protocol ShapeStyle: Sendable {}

extension Quaternary: ShapeStyle {}

extension ShapeStyle where Self == Quaternary {
    public static var quaternary: Quaternary { Quaternary() }
}

public struct IconOnly: Sendable {}

public protocol LabelStyle: Sendable {}

extension IconOnly: LabelStyle {}

extension LabelStyle where Self == IconOnly {
    public static var iconOnly: IconOnly { IconOnly() }
}

public struct Selectability: Sendable { public static let enabled = Selectability() }

@MainActor extension View {
    public func padding() -> some View { self }
    public func disabled(_ disabled: Bool) -> some View { self }
    public func labelStyle(_ style: some LabelStyle) -> some View { self }
    public func textSelection(_ kind: Selectability) -> some View { self }
    public func background(_ style: some ShapeStyle, in shape: some Shape) -> some View { self }
    public func frame(maxWidth: Double?, alignment: Alignment) -> some View { self }
    public func defaultScrollAnchor(_ anchor: UnitPoint?) -> some View { self }
    public func navigationTitle(_ key: LocalizedStringKey) -> some View { Around(self) { $0.lines.append("title: \(key.text)") } }
    public func accessibilityLabel(_ label: Text) -> some View { Around(label) }
    public func onSubmit(_ action: @escaping () -> Void) -> some View { self }
    public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> some View { self }
    public func task(_ action: @escaping @MainActor () async -> Void) -> some View { self }

    public func toolbar(@ViewBuilder content: () -> some View) -> some View {
        let items = content()
        return Around(self) { items.walk($0) }
    }

    public func overlay(@ViewBuilder content: () -> some View) -> some View { toolbar(content: content) }

    public func swipeActions(@ViewBuilder content: () -> some View) -> some View { toolbar(content: content) }

    public func contextMenu(@ViewBuilder menuItems: () -> some View) -> some View { toolbar(content: menuItems) }


    /// A walk opens every one.
    public func sheet<Item: Identifiable & CaseIterable>(
        item: Binding<Item?>, @ViewBuilder content: @escaping (Item) -> some View
    ) -> some View {
        Around(self) { for item in Item.allCases { content(item).walk($0) } }
    }

    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType], onCompletion: @escaping (Result<URL, any Error>) -> Void
    ) -> some View { self }

    public func alert(
        _ key: LocalizedStringKey, isPresented: Binding<Bool>, @ViewBuilder actions: () -> some View,
        @ViewBuilder message: () -> some View
    ) -> some View { self }
}
