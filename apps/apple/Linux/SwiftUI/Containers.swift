import Foundation

/// A view that has others within.
public protocol Container: Plain {
    associatedtype Content: View
    var content: Content { get }
}

extension Container {
    public func walk(_ found: Found) { content.walk(found) }
}

public enum HorizontalAlignment: Sendable { case leading, center, trailing }

public struct Alignment: Sendable {
    public static let leading = Alignment()
    public static let trailing = Alignment()
}

public struct VStack<Content: View>: Container {
    public let content: Content

    public init(alignment: HorizontalAlignment = .center, @ViewBuilder content: () -> Content) { self.content = content() }
}

public struct LazyVStack<Content: View>: Container {
    public let content: Content

    public init(alignment: HorizontalAlignment = .center, @ViewBuilder content: () -> Content) { self.content = content() }
}

public struct HStack<Content: View>: Container {
    public let content: Content

    public init(@ViewBuilder content: () -> Content) { self.content = content() }
}

public struct ScrollView<Content: View>: Container {
    public let content: Content

    public init(@ViewBuilder content: () -> Content) { self.content = content() }
}

public struct NavigationStack<Content: View>: Container {
    public let content: Content

    public init(@ViewBuilder root: () -> Content) { content = root() }
}

public struct List<Content: View>: Container {
    public let content: Content

    public init(@ViewBuilder content: () -> Content) { self.content = content() }
}

public struct Form<Content: View>: Container {
    public let content: Content

    public init(@ViewBuilder content: () -> Content) { self.content = content() }
}
