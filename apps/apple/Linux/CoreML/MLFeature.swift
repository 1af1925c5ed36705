import Foundation

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?

    public init(multiArray: MLMultiArray) { multiArrayValue = multiArray }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for name: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let values: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws { values = dictionary.compactMapValues { $0 as? MLFeatureValue } }

    public var featureNames: Set<String> { Set(values.keys) }

    public func featureValue(for name: String) -> MLFeatureValue? { values[name] }
}

public final class MLFeatureDescription: Sendable {}

public final class MLModelDescription: Sendable {
    public let inputDescriptionsByName: [String: MLFeatureDescription]
    public let outputDescriptionsByName: [String: MLFeatureDescription]
    public let stateDescriptionsByName: [String: MLFeatureDescription]

    init(_ told: [String: Any]) {
        func named(_ kind: String) -> [String: MLFeatureDescription] {
            Dictionary(uniqueKeysWithValues: (told[kind] as? [String] ?? []).map { ($0, MLFeatureDescription()) })
        }
        (inputDescriptionsByName, outputDescriptionsByName) = (named("inputs"), named("outputs"))
        stateDescriptionsByName = named("states")
    }
}
