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

public final class MLMultiArrayConstraint: Sendable {
    public let dataType: MLMultiArrayDataType

    init(_ dataType: MLMultiArrayDataType) { self.dataType = dataType }
}

public final class MLFeatureDescription: Sendable {
    public let multiArrayConstraint: MLMultiArrayConstraint?

    init(_ type: String? = nil) { multiArrayConstraint = type.flatMap(MLMultiArrayDataType.init).map(MLMultiArrayConstraint.init) }
}

public final class MLModelDescription: Sendable {
    public let inputDescriptionsByName: [String: MLFeatureDescription]
    public let outputDescriptionsByName: [String: MLFeatureDescription]
    public let stateDescriptionsByName: [String: MLFeatureDescription]

    init(_ told: [String: Any]) {
        func named(_ kind: String) -> [String: MLFeatureDescription] {
            Dictionary(uniqueKeysWithValues: (told[kind] as? [String] ?? []).map { ($0, MLFeatureDescription()) })
        }
        inputDescriptionsByName = (told["inputs"] as? [String: String] ?? [:]).mapValues { MLFeatureDescription($0) }
        (outputDescriptionsByName, stateDescriptionsByName) = (named("outputs"), named("states"))
    }
}
