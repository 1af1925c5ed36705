import Foundation

/// What a walk over a screen finds: texts, and controls by their names.
public final class Found {
    public var lines: [String] = []
}

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor var body: Body { get }
    @MainActor func walk(_ found: Found)
}

extension View {
    public func walk(_ found: Found) { body.walk(found) }
}

extension Never: View {
    public var body: Never { return fatalError("it has no body") }
}

/// A view of this module: it says itself what a walk finds.
public protocol Plain: View where Body == Never {}

extension Plain {
    public var body: Never { return fatalError("it has no body") }
}

@MainActor @resultBuilder public enum ViewBuilder {
    public static func buildPartialBlock<V: View>(first: V) -> V { first }
    public static func buildPartialBlock<A: View, B: View>(accumulated: A, next: B) -> Two<A, B> { Two(first: accumulated, second: next) }
    public static func buildExpression<V: View>(_ view: V) -> V { view }
    public static func buildIf<V: View>(_ view: V?) -> V? { view }
    public static func buildEither<A: View, B: View>(first: A) -> Either<A, B> { .first(first) }
    public static func buildEither<A: View, B: View>(second: B) -> Either<A, B> { .second(second) }
}

public struct Two<A: View, B: View>: Plain {
    let first: A
    let second: B

    public func walk(_ found: Found) {
        first.walk(found)
        second.walk(found)
    }
}

public enum Either<A: View, B: View>: Plain {
    case first(A), second(B)

    public func walk(_ found: Found) {
        switch self {
        case .first(let view): view.walk(found)
        case .second(let view): view.walk(found)
        }
    }
}

extension Optional: View where Wrapped: View {
    public typealias Body = Never
    public var body: Never { return fatalError("it has no body") }
    public func walk(_ found: Found) { self?.walk(found) }
}

/// A view around others.
public struct Around<V: View>: Plain {
    let view: V
    let also: (Found) -> Void

    init(_ view: V, _ also: @escaping (Found) -> Void = { _ in }) { (self.view, self.also) = (view, also) }

    public func walk(_ found: Found) {
        view.walk(found)
        also(found)
    }
}
