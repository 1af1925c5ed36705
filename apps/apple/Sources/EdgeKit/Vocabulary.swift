/// Pieces of text and their ids, both ways.
struct Vocabulary {
    private var ids: [Exact: Int32] = [:]
    private var pieces: [String?]

    init(_ json: Json) throws {
        let members = try json.object()
        if members.names.isEmpty { throw json.wrong("has no pieces") }
        ids.reserveCapacity(members.names.count)
        for (name, value) in zip(members.names, members.values) {
            ids[Exact(name)] = Int32(try Json(value, name, within: json).whole(0...MOST))
        }
        pieces = Array(repeating: nil, count: Int(ids.values.max() ?? 0) + 1)
        for (piece, id) in ids { pieces[Int(id)] = piece.text }
    }

    subscript(piece: String) -> Int? { ids[Exact(piece)].map(Int.init) }

    func piece(_ id: Int) -> String? { pieces.indices.contains(id) ? pieces[id] : nil }

    /// One more than the highest id.
    var size: Int { pieces.count }
}

private let MOST = (1 << 22) - 1
