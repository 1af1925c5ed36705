/// A model that answers. What it read of a conversation stays in its cache, so that the next turn reads only what is new;
/// another decoder is made, and the one before given up, where another way to decode is asked for.
package final class OpenModel {
    private let about: Description
    private let tokenizer: Tokenizer
    private let test: SelfTest?
    private let sight: Sight?
    private let made: (Way) throws -> any TokenDecoder
    private var way = Way.plain
    private var decoder: (any TokenDecoder)?
    private var cached: [Int] = [] // ids that the decoder has read

    /// `decoder`: makes one whose cache is empty; `eyes`: what sees pictures, of a model that does.
    package init(_ folder: ModelFolder, eyes: (any Eyes)? = nil, decoder: @escaping (Way) throws -> any TokenDecoder) throws {
        try folder.check()
        (about, made) = (folder.description, decoder)
        (tokenizer, test) = (try folder.tokenizer(), try folder.selfTest())
        sight = about.pictures.flatMap { facts in eyes.map { Sight(facts, $0) } }
        let vocab = about.sizes.vocab
        if tokenizer.size > vocab {
            throw EdgeError("tokenizer.json has \(tokenizer.size) ids, and the model \(vocab): they are of two models.")
        }
        self.decoder = try decoder(.plain)
    }

    /// Answer a conversation that ends with a user's message. Each piece of text is given once it is certain, and all of them
    /// are the answer's text; `stopped` is asked before every token.
    package func answer(
        _ messages: [Message], _ settings: AnswerSettings, stopped: @escaping () -> Bool, piece: (String) -> Void
    ) throws -> Answer {
        let decoder = try ready(way(settings))
        let ids = try ids(messages, stopped: stopped)
        (decoder as? any Spliced)?.shown = sight?.rows
        decoder.rewind(min(shared(cached, ids), decoder.length))
        let start = decoder.length // less than is shared where rows of it were forgotten
        cached = Array(ids[..<start])
        var text = ""
        var draws = Draws(settings.seed)
        var wish = Wish(stop: about.stop, most: settings.maxTokens)
        wish.sampling = try sampling(settings)
        wish.seen = cached
        wish.place = about.pictures?.place ?? 0
        wish.random = { draws.next() }
        wish.stopped = stopped
        do {
            let made = try generate(decoder, Array(ids[start...]), tokenizer.stream(), wish) {
                text += $0
                piece($0)
            }
            cached = Array((ids + made.tokens).prefix(decoder.length))
            return Answer(
                text: text, tokens: made.tokens.count, firstSeconds: made.firstSeconds, tokensPerSecond: made.tokensPerSecond,
                stopped: made.ending == .cancelled)
        } catch {
            decoder.rewind(0)
            cached = []
            throw error
        }
    }

    /// What a user should know of this device: nil where it computes what it must, or where that is not known. What was read is
    /// forgotten.
    package func selfTest(stopped: () -> Bool) throws -> String? {
        guard let test, let decoder = try ready(.plain) as? any Inspectable else { return nil }
        cached = []
        return try test.problem(decoder, stopped: stopped)
    }

    /// Ids of a conversation that asks for an answer: one BOS where the model wants one.
    package func ids(_ messages: [Message], stopped: () -> Bool = { false }) throws -> [Int] {
        guard let last = messages.last else { throw EdgeError("There is no message to answer.") }
        let (messages, rows) = try placed(messages, stopped)
        var ids = try tokenizer.encode(about.chat?.rendered(messages) ?? last.text)
        if let place = about.pictures?.place {
            let places = ids.indices.filter { ids[$0] == place }
            if places.count != rows.count { throw EdgeError("The conversation has other places for pictures than it has pictures.") }
            for (at, row) in zip(places, rows) { ids[at] = -1 - row }
        }
        guard let bos = about.bos, ids.first != bos else { return ids }
        return [bos] + ids
    }

    /// The messages with the places of their pictures' rows, and which rows those are.
    private func placed(_ messages: [Message], _ stopped: () -> Bool) throws -> ([Message], [Int]) {
        let pictures = messages.flatMap(\.pictures)
        guard let sight else {
            if !pictures.isEmpty || about.pictures != nil { throw EdgeError("This model is shown no pictures here: choose one that sees.") }
            return (messages, [])
        }
        if !sight.goesOn(pictures) { cached = [] }
        var rows: [Int] = []
        return (try messages.map { message in
            if message.role != "user" { return message }
            let found = try message.pictures.map { try sight.look($0, stopped) }
            rows += found.joined()
            return Message(message.role, try sight.facts.placed(message.text, found.map(\.count)))
        }, rows)
    }

    private func sampling(_ settings: AnswerSettings) throws -> Sampling {
        var sampling = about.sampling
        if let asked = settings.temperature {
            if !(0...100).contains(asked) { throw EdgeError("The temperature is \(asked): choose 0 or more.") }
            sampling.temperature = asked
        }
        return sampling
    }

    private func way(_ settings: AnswerSettings) throws -> Way {
        if settings.snapkv && settings.drafts {
            throw EdgeError("Drafts are read with the whole cache: turn SnapKV or drafts off.")
        }
        if about.pictures != nil && (settings.snapkv || settings.drafts) {
            throw EdgeError("A model that sees pictures is read with the whole cache here: turn SnapKV and drafts off.")
        }
        if settings.snapkv && about.sizes.rotary == nil {
            throw EdgeError("This model's attention does not see every row: turn SnapKV off.")
        }
        return settings.snapkv ? .snapkv : settings.drafts ? .drafts : .plain
    }

    private func ready(_ wanted: Way) throws -> any TokenDecoder {
        if wanted != way { (decoder, cached) = (nil, []) } // first: there is rarely memory for two
        way = wanted
        if let decoder { return decoder }
        let fresh = try made(wanted)
        decoder = fresh
        return fresh
    }
}
