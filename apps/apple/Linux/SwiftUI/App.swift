import Foundation

@MainActor @preconcurrency public protocol Scene {
    @MainActor func walk(_ found: Found)
}

extension Scene {
    public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> some Scene { self }
}

public struct WindowGroup<Content: View>: Scene {
    private let content: Content

    public init(@ViewBuilder content: () -> Content) { self.content = content() }

    public func walk(_ found: Found) { content.walk(found) }
}

@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    @MainActor var body: Body { get }
    init()
}

extension App {
    /// Says what stands on the first screen, and on the sheets that it opens. Two words name a string catalogue and a language.
    public static func main() {
        let words = CommandLine.arguments.dropFirst()
        if words.count == 2, let file = words.first, let language = words.last {
            do { try Catalogue.shared.load(file, language) } catch { fatalError("\(error)") }
        }
        let found = Found()
        Self().body.walk(found)
        print(found.lines.joined(separator: "\n"))
    }
}
