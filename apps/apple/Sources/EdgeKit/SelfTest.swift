import Foundation

/// A decoder whose sequence may begin anywhere in an empty cache, and whose cache can be looked at. L layers, W head width.
package protocol Inspectable: TokenDecoder {
    /// Begin anew behind so many rows of zeros.
    func begin(at row: Int)

    /// Keys and values of rows, of one kv head of each layer, in turn: for each row [L W].
    func cached(_ rows: [Int]) throws -> (keys: [[Float]], values: [[Float]])
}

/// What a device must compute, which `edge app` evaluated: tokens, and rows of the cache at several lengths. Devices differ,
/// and some are wrong without a word: of what they keep of long texts, above all.
package struct SelfTest {
    private struct Case {
        let start: Int
        let ids, tokens: [Int]
        let sure: [Bool] // of each token: another device may choose another one where two are as likely
        let rows: [(place: Int, keys: [Float], values: [Float])]
    }

    private let cases: [Case] // by where they start

    package init(_ json: Json, _ sizes: Sizes) throws {
        cases = try json["cases"].items(most: CASES).map { item in
            let start = try item["start"].whole(0...(sizes.context - 1))
            func ids(_ name: String) throws -> [Int] { try item[name].items(most: sizes.context).map { try $0.whole(0...(sizes.vocab - 1)) } }
            let (ids, tokens) = (try ids("ids"), try ids("tokens"))
            let sure = try item["sure"].items(most: sizes.context).map { try $0.flag() }
            if sure.count != tokens.count { throw try item["sure"].wrong("is not of \(tokens.count) tokens") }
            let end = start + ids.count + tokens.count
            if ids.isEmpty || end > sizes.context { throw item.wrong("does not fit the context of \(sizes.context)") }
            let width = sizes.layers.reduce(0) { $0 + $1.width }
            let rows = try item["rows"].items(most: CASES).map { row in
                (try row["row"].whole(start...(end - 1)), try numbers(row["keys"], width), try numbers(row["values"], width))
            }
            return Case(start: start, ids: ids, tokens: tokens, sure: sure, rows: rows)
        }
        if cases.isEmpty || zip(cases, cases.dropFirst()).contains(where: { $0.start >= $1.start }) {
            throw try json["cases"].wrong("does not rise")
        }
    }

    /// What a user should know: nil where a device computes what it must, or where it was `stopped`.
    package func problem(_ decoder: any Inspectable, stopped: () -> Bool) throws -> String? {
        defer { decoder.begin(at: 0) }
        var right = 0 // tokens up to which all is well
        for one in cases {
            guard let agrees = try agrees(one, decoder, stopped) else { return nil }
            if !agrees {
                let words = "On this device the model does not compute what it should"
                return right == 0 ? "\(words): its answers may be wrong." : """
                    \(words) beyond \(right) tokens: answers may be wrong where a conversation, or a text, is longer.
                    """
            }
            right = one.start + one.ids.count + one.tokens.count
        }
        return nil
    }

    /// Nil where it was stopped.
    private func agrees(_ one: Case, _ decoder: any Inspectable, _ stopped: () -> Bool) throws -> Bool? {
        decoder.begin(at: one.start)
        guard var logits = try decoder.prefill(one.ids, stopped: stopped) else { return nil }
        for (token, sure) in zip(one.tokens, one.sure) {
            if stopped() { return nil }
            if try sure && likeliest(logits) != token { return false }
            logits = try decoder.step(token)
        }
        let untouched = one.start == 0 ? [] : [0, one.start - 1]
        let (keys, values) = try decoder.cached(one.rows.map(\.place) + untouched)
        for (at, row) in one.rows.enumerated() where !alike(keys[at], row.keys) || !alike(values[at], row.values) { return false }
        return (keys[one.rows.count...] + values[one.rows.count...]).allSatisfy { $0.allSatisfy { $0 == 0 } }
    }
}

private let CASES = 100
private let NEAR: Float = 0.1 // of a row's largest number: devices round in orders of their own

private func alike(_ found: [Float], _ wanted: [Float]) -> Bool {
    let most = wanted.reduce(0) { max($0, abs($1)) } * NEAR
    return found.count == wanted.count && zip(found, wanted).allSatisfy { abs($0 - $1) <= most }
}

/// Numbers of 16 bits, in base64.
private func numbers(_ json: Json, _ count: Int) throws -> [Float] {
    guard let data = Data(base64Encoded: try json.text()), data.count == 2 * count else { throw json.wrong("is not \(count) numbers") }
    let bytes = [UInt8](data)
    return (0..<count).map { float(UInt16(bytes[2 * $0]) | UInt16(bytes[2 * $0 + 1]) << 8) }
}
