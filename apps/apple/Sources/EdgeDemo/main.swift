import EdgeCoreML
import EdgeKit
import EdgeMLX
import Foundation

// edge-demo MODEL PROMPT [TOKENS] [--image FILE]... [--snapkv] [--layerskip] [--self-test]: answers once, from a folder that `edge app` wrote of a
// model for Core ML or MLX; with the last option, after it was seen that this device computes what it must.

func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

var words = Array(CommandLine.arguments.dropFirst())
var images: [URL] = []
while let at = words.firstIndex(of: "--image"), at + 1 < words.count {
    images.append(URL(fileURLWithPath: words[at + 1]))
    words.removeSubrange(at...at + 1)
}
let options = words.filter(["--snapkv", "--layerskip", "--self-test"].contains)
words.removeAll(where: options.contains)
guard (2...3).contains(words.count), let most = Int(words.count == 3 ? words[2] : "128"), most > 0 else {
    say("edge-demo MODEL PROMPT [TOKENS] [--image FILE]... [--snapkv] [--layerskip] [--self-test]")
    exit(2)
}

/// Answer on stdout. What is compiled on the way goes with the process.
@MainActor func answer(_ folder: URL) async throws {
    let place = FileManager.default.temporaryDirectory.appendingPathComponent("edge-demo-\(ProcessInfo.processInfo.processIdentifier)")
    defer { try? FileManager.default.removeItem(at: place) }
    let model = try await target(of: folder) == "mlx" ? openMlx(folder) : openModel(folder, compiled: place)
    let settings = AnswerSettings(
        temperature: 0, snapkv: options.contains("--snapkv"), drafts: options.contains("--layerskip"), maxTokens: most)
    if options.contains("--self-test"), let problem = try await model.selfTest() { throw EdgeError(problem) }
    let question = try Message("user", words[1], pictures: images.map(picture(from:)))
    for try await reply in model.reply(to: [question], settings: settings) {
        switch reply {
        case .piece(let text): FileHandle.standardOutput.write(Data(text.utf8))
        case .done(let answer):
            let rate = String(format: "%.1f", answer.tokensPerSecond)
            say("\n\(answer.tokens) tokens, \(rate) a second")
        }
    }
}

do { try await answer(URL(fileURLWithPath: words[0])) } catch {
    say(error.localizedDescription)
    exit(1)
}
