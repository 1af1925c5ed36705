import EdgeKit
import Foundation
#if os(iOS)
import os
#endif

/// Where this app's models lie: not in a backup, for they are large and can be had again.
func modelFolder() -> URL {
    let support = FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask)[0]
    var folder = support.appendingPathComponent("models", isDirectory: true)
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    var values = URLResourceValues()
    values.isExcludedFromBackup = true
    try? folder.setResourceValues(values)
    return folder
}

/// Bytes that the app may have yet: on a phone what the system says, else what the machine has.
@Sendable func freeMemory() -> Int {
    #if os(iOS)
    os_proc_available_memory()
    #else
    Int(clamping: ProcessInfo.processInfo.physicalMemory)
    #endif
}

/// When the system is short of memory.
func memoryWarnings() -> AsyncStream<Void> {
    let (warnings, told) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    #if canImport(Darwin)
    nonisolated(unsafe) let source = DispatchSource.makeMemoryPressureSource(eventMask: [.warning, .critical], queue: .main)
    source.setEventHandler { told.yield() }
    told.onTermination = { _ in source.cancel() }
    source.activate()
    #endif
    return warnings
}

/// Notes in the app's own settings.
struct SavedNotes: Notes {
    func note(_ key: String) -> String? { UserDefaults.standard.string(forKey: key) }

    func note(_ text: String?, as key: String) { UserDefaults.standard.set(text, forKey: key) }
}
