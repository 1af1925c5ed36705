// Text into ids, by the library that reads tokenizer.json, and ids into text as they come.

import { rendered } from "./chat.js";
import { streams } from "./stream.js";

/** `Tokenizer`: the class of @huggingface/tokenizers; `content`: of tokenizer.json; `app`: of app.json. */
export function textOf(Tokenizer, content, app) {
  const library = new Tokenizer(content, { clean_up_tokenization_spaces: false });
  const encode = (text) => Array.from(library.encode(text, { add_special_tokens: false }).ids, Number);
  const begun = (ids) => (app.bos === null || ids[0] === app.bos ? ids : [app.bos, ...ids]);
  return {
    encode,
    /** Ids of a conversation that asks for an answer: one BOS where the model wants one. */
    conversation: (messages) => begun(encode(rendered(app.chat, messages))),
    stream: streams(content),
    stop: new Set(app.stop),
  };
}
