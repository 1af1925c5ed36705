import Foundation

private final class Box<Value> {
    var value: Value

    init(_ value: Value) { self.value = value }
}

@MainActor @propertyWrapper public struct State<Value> {
    private let box: Box<Value>

    public init(wrappedValue: Value) { box = Box(wrappedValue) }

    public var wrappedValue: Value {
        get { box.value }
        nonmutating set { box.value = newValue }
    }

    public var projectedValue: Binding<Value> { Binding { box.value } set: { box.value = $0 } }
}

extension State where Value: ExpressibleByNilLiteral {
    public init() { self.init(wrappedValue: nil) }
}

@MainActor @propertyWrapper @dynamicMemberLookup public struct Binding<Value> {
    private let read: @MainActor () -> Value
    private let write: @MainActor (Value) -> Void

    public init(get: @escaping @MainActor () -> Value, set: @escaping @MainActor (Value) -> Void) { (read, write) = (get, set) }

    public var wrappedValue: Value {
        get { read() }
        nonmutating set { write(newValue) }
    }

    public var projectedValue: Binding<Value> { self }

    public subscript<Inner>(dynamicMember path: WritableKeyPath<Value, Inner>) -> Binding<Inner> {
        Binding<Inner> { wrappedValue[keyPath: path] } set: {
            var whole = wrappedValue
            whole[keyPath: path] = $0
            wrappedValue = whole
        }
    }
}

public enum ScenePhase: Sendable { case active, inactive, background }

public struct DismissAction { public func callAsFunction() {} }

public struct EnvironmentValues {
    public var scenePhase: ScenePhase { .active }
    public var dismiss: DismissAction { DismissAction() }
}

@propertyWrapper public struct Environment<Value> {
    private let path: KeyPath<EnvironmentValues, Value>

    public init(_ path: KeyPath<EnvironmentValues, Value>) { self.path = path }

    public var wrappedValue: Value { EnvironmentValues()[keyPath: path] }
}
