/// Sizes of a layer's attention: query heads, kv heads, width of a head, and what scores are multiplied by.
package struct Layer: Sendable {
    package let heads, kvHeads, width: Int
    package let scale: Double

    package init(heads: Int, kvHeads: Int, width: Int, scale: Double) {
        (self.heads, self.kvHeads, self.width, self.scale) = (heads, kvHeads, width, scale)
    }
}

/// Radians a position of each rotated pair, and what the rotation multiplies by.
package struct Rotary: Sendable {
    package let frequencies: [Float]
    package let magnitude: Double
}

/// Sizes of a decoder; `rotary` is nil where its cache cannot be cut.
package struct Sizes: Sendable {
    package let vocab, context: Int
    package let layers: [Layer]
    package let rotary: Rotary?

    package init(vocab: Int, context: Int, layers: [Layer], rotary: Rotary?) {
        (self.vocab, self.context, self.layers, self.rotary) = (vocab, context, layers, rotary)
    }
}

/// A file of a model: its place below the model's folder, with its size and hash.
package struct Named: Sendable, Equatable {
    package let name: String
    package let bytes: Int
    package let sha256: String
}

/// What app.json says, checked: refused with an `EdgeError` where it is of another schema, incomplete, or absurd.
package struct Description {
    package let name: String
    package let files: [Named]
    package let tokenizer: Named
    package let selfTest: Named?
    package let sizes: Sizes
    package let bos: Int?
    package let stop: Set<Int>
    package let chat: Chat?
    package let sampling: Sampling
    /// What the model is for.
    package let target: String
    /// How it sees pictures; nil of a model that reads alone.
    package let pictures: PictureFacts?
    private let targets: [String: String] // of each network
    private let memory: [(tokens: Int, bytes: Int)]

    package init(_ json: Json) throws {
        let schema = try json["schema"].whole(0...Int.max)
        if schema != SCHEMA { throw json.wrong("is of schema \(schema), and this app reads \(SCHEMA): use the `edge app` of its time") }
        target = try json["modules"]["text"]["target"].text()
        name = try json["name"].text()
        tokenizer = try named(json["tokenizer"])
        let modules = try json["modules"]
        selfTest = try json["selftest"].orNil.map(named)
        files = [tokenizer] + (selfTest.map { [$0] } ?? []) + (try modules.object().names.flatMap { try modules[$0]["files"].items(most: FILES).map(named) })
        sizes = try EdgeKit.sizes(json["decoder"])
        let vocab = sizes.vocab
        bos = try json["bos"].orNil?.whole(0...(vocab - 1))
        stop = Set(try json["stop"].items(most: FILES).map { try $0.whole(0...MOST) })
        pictures = try json["pictures"].orNil.map { try PictureFacts($0, vocab: vocab) }
        targets = try Dictionary(uniqueKeysWithValues: modules.object().names.map { ($0, try modules[$0]["target"].text()) })
        chat = try json["chat"].orNil.map(Chat.init)
        sampling = try Sampling(json["sampling"])
        memory = try json["memory"].items(most: FILES).map { (try $0["tokens"].whole(1...MOST), try $0["bytes"].whole(0...BYTES)) }
        let rises = zip(memory, memory.dropFirst()).allSatisfy { $0.tokens < $1.tokens }
        if memory.isEmpty || !rises { throw try json["memory"].wrong("does not rise") }
        if let twice = twice(files.map(\.name) + [ModelFolder.app]) { throw json.wrong("names \(twice.first(60)) twice") }
    }

    /// Refuse a model for something else.
    package func need(_ targets: [String], of module: String = "text") throws {
        let target = self.targets[module] ?? "nothing"
        if !targets.contains(target) {
            throw EdgeError("It is a model for \(target.first(20)), and this app runs models for \(targets.joined(separator: " and ")).")
        }
    }

    /// Of all files.
    package var bytes: Int { files.reduce(0) { $0 + $1.bytes } }

    /// Bytes that a run of so many tokens takes: told for some lengths, and even between them.
    package func memory(_ tokens: Int) -> Int {
        guard let above = memory.firstIndex(where: { $0.tokens >= tokens }) else { return memory[memory.count - 1].bytes }
        if above == 0 { return memory[0].bytes }
        let (low, high) = (memory[above - 1], memory[above])
        let share = Double(tokens - low.tokens) / Double(high.tokens - low.tokens)
        return low.bytes + Int(Double(high.bytes - low.bytes) * share)
    }
}

private let SCHEMA = 1
private let FILES = 1000
private let LAYERS = 1024
private let MOST = 1 << 24
private let BYTES = 1 << 40

/// A name that stands for two files, or for a file and a folder. Small and large letters may be alike to the disk.
private func twice(_ names: [String]) -> String? {
    var seen: Set<String> = []
    for name in names where !seen.insert(name.lowercased()).inserted { return name }
    return names.first { name in seen.contains { $0.hasPrefix(name.lowercased() + "/") } }
}

private func named(_ json: Json) throws -> Named {
    let name = try json["name"].text()
    if !isName(name) { throw json.wrong("has the name \(name.first(60)), which is no name of a file") }
    let hash = try json["sha256"].text()
    let digits = hash.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    if hash.utf8.count != 64 || !digits { throw json.wrong("has no hash") }
    return Named(name: name, bytes: try json["bytes"].whole(0...BYTES), sha256: hash)
}

/// Names of folders and of a file below them, of plain letters: none leads out, none is hidden.
private func isName(_ name: String) -> Bool {
    name.utf8.count <= 200 && name.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).allSatisfy { part in
        guard let first = part.first else { return false }
        func plain(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
        }
        return plain(first) && part.allSatisfy { plain($0) || [0x2e, 0x20, 0x2d].contains($0) }
    }
}

private func sizes(_ json: Json) throws -> Sizes {
    let layers = try json["layers"].items(most: LAYERS).map(layer)
    if layers.isEmpty { throw try json["layers"].wrong("is empty") }
    let rotary = try json["rotary"].orNil.map { rotary in
        Rotary(
            frequencies: try rotary["frequencies"].items(most: LAYERS).map { Float(try $0.number()) },
            magnitude: try rotary["magnitude"].number())
    }
    return Sizes(
        vocab: try json["vocab"].whole(1...MOST), context: try json["context"].whole(1...MOST), layers: layers, rotary: rotary)
}

private func layer(_ json: Json) throws -> Layer {
    let (heads, kvHeads) = (try json["heads"].whole(1...MOST), try json["kv_heads"].whole(1...MOST))
    if heads % kvHeads != 0 { throw json.wrong("has \(heads) heads, which \(kvHeads) kv heads cannot share") }
    let width = try json["head_width"].whole(1...MOST)
    return Layer(heads: heads, kvHeads: kvHeads, width: width, scale: try json["scale"].number())
}
