import EdgeKit
import Foundation

extension Checks {
    /// Tokenizers that a stranger wrote: each is refused in words, or honoured, in little memory and time.
    func hostile(_ golden: Golden) throws {
        let rules = try golden.of("rules")
        let plain = try ruled(rules, rules["cases"].items()[0])
        let model = try plain["model"].value
        func wrong(_ words: String, _ fields: (String, Value)...) {
            check("tokenizer.json: \(words) \(fields[0].1.written.first(60))") {
                try refused(words) { _ = try Tokenizer(plain.changed(fields)) }
            }
        }
        func of(_ fields: (String, Value)...) throws -> (String, Value) { ("model", try model.changed(fields)) }
        wrong("model is no object", ("model", nil))
        wrong("of the kind WordPiece", try of(("type", "WordPiece")))
        wrong("model.vocab is no object", try of(("vocab", [])))
        wrong("has no pieces", try of(("vocab", [:])))
        wrong("is no whole number of 0..4194303", try of(("vocab", ["a": 1_099_511_627_776])))
        wrong("is no whole number", try of(("vocab", ["a": -1])))
        wrong("which is not in the vocabulary", try of(("merges", ["a nothing"])))
        for pair: Value in ["a", "a b c", ["a"]] { wrong("is no pair of pieces", try of(("merges", [pair]))) }
        wrong("is no text", try of(("merges", [7])))
        wrong("has end_of_word_suffix", try of(("end_of_word_suffix", "</w>")))
        wrong("drops merges by chance", try of(("dropout", 0.1)))
        wrong("falls back to bytes", try of(("byte_fallback", true)))
        wrong("unk_token is not in the vocabulary", try of(("unk_token", "<nothing>")))
        wrong("which this app cannot show piece by piece", ("decoder", nil))
        wrong("has the id of another piece", ("added_tokens", [["id": 0, "content": "<x>"]]))
        wrong("is an empty token", ("added_tokens", [["id": 999, "content": ""]]))
        normalizers(wrong)
        patterns(wrong)
        check("a pattern that backtracks for ever is given up") {
            let slow = try Tokenizer(plain.changed([split("a*a*a*a*a*a*$x")]))
            let took = try seconds {
                try refused("takes too long") { _ = try slow.encode(String(repeating: "a", count: 20_000) + "!") }
            }
            if took > 30 { throw Wrong(description: "\(took) s") }
        }
        check("long texts take little time") {
            let tokenizers = try rules["cases"].items().map { try Tokenizer(ruled(rules, $0)) }
            for (part, count) in [("a", 60_000), (" ", 60_000), ("the ", 20_000), ("<|r|> ", 20_000), ("\n", 40_000), ("🙂", 20_000)] {
                let text = String(repeating: part, count: count)
                for (at, tokenizer) in tokenizers.enumerated() {
                    let took = try seconds { _ = try tokenizer.encode(text) }
                    if took > 20 { throw Wrong(description: "rule \(at): \(took) s for \(part)") }
                }
            }
        }
        check("what a tokenizer.json does not say is what the library takes it for") {
            let some: Value = ["vocab": try plain["model"]["vocab"].value, "merges": try plain["model"]["merges"].value]
            let bare = try plain.changed([("model", some), ("added_tokens", nil), ("normalizer", nil)])
            for text in try rules["texts"].texts() { try equal(Tokenizer(bare).encode(text), Tokenizer(plain).encode(text)) }
        }
    }

    private func normalizers(_ wrong: (String, (String, Value)...) -> Void) {
        func replace(_ old: Value, _ new: String) -> Value { ["type": "Replace", "pattern": old, "content": .text(new)] }
        func sequence(_ steps: [Value]) -> (String, Value) { ("normalizer", ["type": "Sequence", "normalizers": .list(steps)]) }
        wrong("a normalizer of the kind BertNormalizer", ("normalizer", ["type": "BertNormalizer"]))
        wrong("replaces nothing", ("normalizer", replace(["String": ""], "a")))
        wrong("makes a text too long", ("normalizer", replace(["String": "a"], String(repeating: "a", count: 300))))
        wrong("by a regular expression", ("normalizer", replace(["Regex": "a"], "b")))
        wrong("makes a text too long", sequence(Array(repeating: replace(["String": "a"], "aaaa"), count: 9)))
        wrong("has 40 items", sequence(Array(repeating: ["type": "NFC"], count: 40)))
    }

    private func patterns(_ wrong: (String, (String, Value)...) -> Void) {
        wrong("a pre-tokenizer of the kind UnicodeScripts", ("pre_tokenizer", ["type": "UnicodeScripts"]))
        wrong("splits at nothing", split(""))
        for (pattern, words) in [
            ("(", "cannot use"), ("a{3,1}", "cannot use"), ("[[:alpha:]]", "POSIX"), ("[a&&b]", "intersects"),
            ("[a--b]", "intersects"), ("\\b", "has \\b"), ("\\w", "has \\w"), ("(?m)a", "group of an unknown kind"),
            ("(?<a>b)", "unknown kind"), ("(?#x)", "unknown kind"), ("\\p{Foo}", "the property Foo"), ("\\pL", "without braces"),
            ("a{1,2}+", "repeats a quantity"), ("a{,2}", "without a beginning"), ("\\x{110000}", "wrong number"),
            ("\\x{", "wrong number"), ("\\u12", "wrong number"), ("\\ud800", "wrong number"), ("\\", "ends with a backslash"),
            ("\\1", "has \\1"), ("[]", "empty class"), ("(a|a)+$x", "repeats a group"), ("(?:a|b){2,}", "repeats a group"),
        ] { wrong(words, split(pattern)) }
    }
}

private func split(_ pattern: String) -> (String, Value) {
    ("pre_tokenizer", ["type": "Split", "pattern": ["Regex": .text(pattern)], "behavior": "Isolated"])
}
