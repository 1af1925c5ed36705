public struct UTType: Sendable {
    public static let folder = UTType()
    public static let plainText = UTType()
}
