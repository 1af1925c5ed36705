import EdgeKit
import Foundation

/// What models of this app are for, beside Core ML: nothing more where it was built without mlx-swift.
public let mlxTargets: [String] = {
    #if canImport(MLX) && !targetEnvironment(simulator) // which has no GPU that MLX runs on
    ["mlx"]
    #else
    []
    #endif
}()

/// Open a model that was converted to MLX. Throws an `EdgeError` where it is not whole, or of a family that is not here.
public func openMlx(_ stored: URL) async throws -> any Decoding {
    #if canImport(MLX) && !targetEnvironment(simulator)
    try await ModelQueue {
        let folder = try ModelFolder(stored)
        try folder.description.need(["mlx"])
        let weights = try MlxWeights(stored.appendingPathComponent("text"), folder.description)
        return try OpenModel(folder) { way in
            if way != .plain { throw EdgeError("SnapKV and drafts are not here for models of MLX: turn them off.") }
            return MlxDecoder(folder.description.sizes, weights)
        }
    }
    #else
    throw EdgeError("This app was built without mlx-swift, or for a simulator, and opens models for Core ML alone.")
    #endif
}
