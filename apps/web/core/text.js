// Text into ids, by the library that reads tokenizer.json, and ids into text as they come.

import { rendered } from "./chat.js";
import { Refused } from "./folder.js";
import { streams } from "./stream.js";

/** `Tokenizer`: the class of @huggingface/tokenizers; `content`: of tokenizer.json; `app`: of app.json. */
export function textOf(Tokenizer, content, app) {
  const library = made(Tokenizer, content);
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

/** The library's own words name a line of its code: said after what is wrong and what to do. */
function made(Tokenizer, content) {
  try {
    if (!Array.isArray(content.added_tokens ?? [])) throw new Error("its added tokens are no list");
    const library = new Tokenizer(content, { clean_up_tokenization_spaces: false });
    library.encode("a", { add_special_tokens: false }); // some faults show only here
    return library;
  } catch (error) {
    throw new Refused(`this model's tokenizer.json cannot be used: get the model again (${String(error.message).slice(0, 120)})`);
  }
}
