// Token by token into text, without half a character and without text that changes later: the twin of the decoder
// that tokenizer.json describes.

const BYTE = /^<0x([0-9A-Fa-f]{2})>$/;

/** `tokenizer`: the content of tokenizer.json -> a function that begins a stream. */
export function streams(tokenizer) {
  const pieces = new Map(Object.entries(tokenizer.model.vocab).map(([piece, id]) => [id, piece]));
  for (const token of tokenizer.added_tokens ?? []) pieces.set(token.id, token.content);
  const hidden = new Set((tokenizer.added_tokens ?? []).filter((token) => token.special).map((token) => token.id));
  const kind = kindOf(tokenizer.decoder);
  return ({ inside = false } = {}) => {
    const text = kind(inside);
    return {
      feed: (id) => (hidden.has(id) || !pieces.has(id) ? "" : text.feed(pieces.get(id))),
      finish: () => text.finish(),
    };
  };
}

/** The streaming twin of a decoder; `inside` a text, a blank before its first piece is one. */
export function kindOf(decoder) {
  const steps = flat(decoder);
  const kinds = steps.map((step) => step.type);
  if (kinds.join() === "ByteLevel") return () => new ByteLevel();
  const strip = kinds.at(-1) === "Strip" ? steps.pop() : null;
  const rest = steps.map((step) => step.type).filter((kind) => kind !== "Replace").join();
  const simple = steps.every((step) => step.type !== "Replace" || "String" in step.pattern);
  if (!simple || !["ByteFallback,Fuse", "Fuse"].includes(rest) || strip?.stop) {
    throw new Error(`tokenizer.json: a decoder of ${kinds.join(", ") || "nothing"} cannot be streamed`);
  }
  const replaced = steps
    .filter((step) => step.type === "Replace")
    .map((step) => [step.pattern.String, step.content]);
  const start = (inside) => (strip && !inside ? [strip.content, strip.start] : ["", 0]);
  return (inside) => new SentencePiece(replaced, start(inside), rest.startsWith("ByteFallback"));
}

function flat(decoder) {
  if (!decoder) return [];
  return decoder.type === "Sequence" ? decoder.decoders.flatMap(flat) : [decoder];
}

/** Each character of a piece stands for one byte (GPT-2's table); UTF-8 may span pieces. */
class ByteLevel {
  #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

  feed(piece) {
    const values = Array.from(piece, (char) => BYTES.get(char));
    // An added token may hold characters outside the table: it is plain text.
    const data = values.includes(undefined) ? new TextEncoder().encode(piece) : Uint8Array.from(values);
    return this.#utf8.decode(data, { stream: true });
  }

  finish() {
    return this.#utf8.decode();
  }
}

/** Text with a stand-in for the blank; rare characters are runs of <0xNN> pieces, each decoded as a whole. */
class SentencePiece {
  #run = [];
  #replaced;
  #strip;
  #fallback;

  constructor(replaced, strip, fallback) {
    this.#replaced = replaced;
    this.#strip = strip;
    this.#fallback = fallback;
  }

  feed(piece) {
    for (const [old, now] of this.#replaced) piece = piece.replaceAll(old, now);
    const byte = this.#fallback && BYTE.exec(piece);
    if (byte) {
      this.#run.push(parseInt(byte[1], 16));
      return "";
    }
    return this.#stripped(this.#ended() + piece);
  }

  finish() {
    return this.#stripped(this.#ended());
  }

  /** One wrong byte turns all of a run into U+FFFD. */
  #ended() {
    const run = Uint8Array.from(this.#run);
    this.#run = [];
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(run);
    } catch {
      return "\ufffd".repeat(run.length);
    }
  }

  #stripped(text) {
    let [char, count] = this.#strip;
    while (count && text) {
      if (!text.startsWith(char)) {
        count = 0;
        break;
      }
      text = text.slice(char.length);
      count--;
    }
    this.#strip = [char, count];
    return text;
  }
}

/** Printable Latin-1 stands for itself, other bytes for characters from U+0100 on. */
const BYTES = new Map();
for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const itself = (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte !== 0xad);
  BYTES.set(String.fromCodePoint(itself ? byte : next++), byte);
}
