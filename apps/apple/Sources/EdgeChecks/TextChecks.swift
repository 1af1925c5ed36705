import EdgeKit
import Foundation

extension Checks {
    /// Texts become the ids of Hugging Face's tokenizers.
    func texts(_ golden: Golden, _ packaged: URL) throws {
        let tokenizer = try Tokenizer(json(packaged))
        for item in try golden.of("texts").items() {
            let text = try item["text"].text()
            check("packaged \(text)") { try equal(tokenizer.encode(text), item["ids"].ids(), text) }
        }
    }

    /// Each rule that a tokenizer.json may ask for, over small vocabularies.
    func rules(_ golden: Golden) throws {
        let rules = try golden.of("rules")
        for (at, item) in try rules["cases"].items().enumerated() {
            check("rule \(at) \(try! item["pre_tokenizer"].value.written)") {
                let tokenizer = try Tokenizer(ruled(rules, item))
                for (text, ids) in zip(try rules["texts"].texts(), try item["ids"].items()) {
                    try equal(tokenizer.encode(text), ids.ids(), "\"\(text)\"")
                }
            }
        }
    }

    /// Real vocabularies, which the project does not hold.
    func vocabularies(_ golden: Golden, _ assets: URL) throws {
        let texts = try golden.of("rules")["texts"].texts()
        for told in try golden.of("vocabularies").items() {
            let name = try told["file"].text()
            let file = assets.appendingPathComponent(name)
            check(name) {
                try equal(hashed(bytes(of: file)), told["sha256"].text(), "another file")
                let tokenizer = try Tokenizer(json(file))
                for (text, ids) in zip(texts, try told["ids"].items()) { try equal(tokenizer.encode(text), ids.ids(), "\"\(text)\"") }
            }
        }
    }

    /// Conversations become edge's ids.
    func chats(_ golden: Golden, _ packaged: URL) throws {
        let tokenizer = try Tokenizer(json(packaged))
        let chats = try golden.of("chats")
        let chat = try Chat(chats["chat"])
        for talk in try chats["talks"].items() {
            let messages = try talk["messages"].items().map { Message(try $0["role"].text(), try $0["content"].text()) }
            check("talk \(messages)") { try equal(tokenizer.encode(chat.rendered(messages)), talk["ids"].ids()) }
        }
        check("letters of several units of a text do not move what stands around a message") {
            func ids(_ text: String) throws -> [Int] { try tokenizer.encode(chat.rendered([Message("user", text)])) }
            let plain = try ids("Hi")
            for text in ["\u{1f973}\u{1f973}\u{1f973}", "e\u{301}\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}", "\u{1d538}"] {
                let found = try ids(text)
                try equal(Array(found.prefix(1) + found.suffix(2)), Array(plain.prefix(1) + plain.suffix(2)), text)
            }
        }
        check("a role that the model does not know") {
            try refused("no messages of the role tool") { _ = try chat.rendered([Message("tool", "")]) }
        }
    }
}

/// A tokenizer.json of one case.
func ruled(_ rules: Json, _ item: Json) throws -> Json {
    let kind = try item["model"].text()
    var model = try rules["models"][kind].value
    if let change = try item["change"].orNil?.object() { model = try model.changed(Array(zip(change.names, change.values))) }
    var fields: [(String, Value)] = [("model", model), ("decoder", ["type": kind == "bytes" ? "ByteLevel" : "Fuse"])]
    for name in ["normalizer", "pre_tokenizer", "added_tokens"] { fields.append((name, try item[name].value)) }
    return Json(try Value.object(Members()).changed(fields), "tokenizer.json")
}
