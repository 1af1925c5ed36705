import Foundation

/// How a model's conversations are written: `chat` of app.json, which `edge app` read off the model's template.
package struct Chat {
    private struct Around {
        let prefix, suffix: String
        let trims: Bool
    }

    private let start: String
    private let answer: String
    private var roles: [String: Around] = [:]
    private let today: (said: String, format: String)?

    package init(_ json: Json) throws {
        start = try json["start"].text()
        answer = try json["answer"].text()
        today = try json["today"].orNil.map { (try $0["said"].text(), try $0["format"].text()) }
        for role in try json["roles"].object().names {
            let around = try json["roles"][role]
            roles[role] = Around(
                prefix: try around["prefix"].text(), suffix: try around["suffix"].text(), trims: try around["trims"].flag())
        }
    }

    /// Messages, the last of them a user's -> the text that asks for an answer.
    package func rendered(_ messages: [Message], now: DateComponents? = nil) throws -> String {
        let now = now ?? Calendar(identifier: .gregorian).dateComponents(in: .current, from: Date())
        var out = messages.contains { $0.role == SYSTEM } ? "" : try dated(start, now)
        for message in messages {
            guard let around = roles[message.role] else {
                throw EdgeError("This model's conversations have no messages of the role \(message.role.first(20)).")
            }
            out += message.role == SYSTEM ? try dated(around.prefix, now) : around.prefix
            out += around.trims ? trimmed(message.text) : message.text
            out += around.suffix
        }
        return out + answer
    }

    /// A template may say today's date where a conversation begins: app.json has that of its making.
    private func dated(_ text: String, _ now: DateComponents) throws -> String {
        guard let today, !today.said.isEmpty, let place = text.range(of: today.said, options: .literal) else { return text }
        return text.replacingCharacters(in: place, with: try formatted(today.format, now))
    }
}

private let SYSTEM = "system"

/// What Python's str.strip leaves, and so Jinja's trim.
package func trimmed(_ text: String) -> String {
    func blank(_ char: Unicode.Scalar) -> Bool { isBlank(char) || (0x1c...0x1f).contains(char.value) }
    let scalars = text.scalars
    guard let start = scalars.firstIndex(where: { !blank($0) }), let end = scalars.lastIndex(where: { !blank($0) }) else { return "" }
    return String(scalars: scalars[start...end])
}

private let MONTHS = "January February March April May June July August September October November December".split(separator: " ")
private let DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(separator: " ")

/// The part of strftime that templates use.
private func formatted(_ format: String, _ now: DateComponents) throws -> String {
    func two(_ number: Int?) -> String { ((number ?? 0) < 10 ? "0" : "") + "\(number ?? 0)" }
    let month = String(MONTHS[(now.month ?? 1) - 1])
    let day = String(DAYS[(now.weekday ?? 1) - 1])
    var out = ""
    var letters = format.scalars.makeIterator()
    while let letter = letters.next() {
        guard letter == "%", let code = letters.next() else {
            out.unicodeScalars.append(letter)
            continue
        }
        switch code {
        case "d": out += two(now.day)
        case "m": out += two(now.month)
        case "Y": out += "\(now.year ?? 0)"
        case "y": out += two((now.year ?? 0) % 100)
        case "b": out += month.prefix(3)
        case "B": out += month
        case "a": out += day.prefix(3)
        case "A": out += day
        case "H": out += two(now.hour)
        case "M": out += two(now.minute)
        case "S": out += two(now.second)
        case "%": out += "%"
        default: throw EdgeError("The model's chat template writes the date as %\(code), which this app cannot.")
        }
    }
    return out
}
