// Whether a faster decoder says what the plain one says: graphics drivers differ, and some are wrong.
//
// A decoder is what generate.js takes.

const STEPS = 16; // tokens: enough that caches are fed back, and few enough to wait for

/** What a decoder says after these ids, greedily: the tokens that another one must say, too. */
export async function greedy(decoder, ids) {
  const tokens = [];
  let logits = await decoder.prefill(ids);
  while (tokens.length < STEPS) {
    tokens.push(best(logits));
    logits = await decoder.step(tokens.at(-1));
  }
  decoder.rewind(0);
  return tokens;
}

/** Why a decoder that `open` gives is not to be used: null where it says the same tokens within `seconds`. */
export async function disagreement(open, ids, tokens, { seconds = 30 } = {}) {
  let timer;
  const late = new Promise((_, bad) => {
    timer = setTimeout(() => bad(new Error(`it gave no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    const decoder = await Promise.race([open(), late]);
    const found = await Promise.race([greedy(decoder, ids), late]);
    const at = found.findIndex((token, i) => token !== tokens[i]);
    if (at < 0) return { decoder, problem: null };
    await decoder.close();
    return { decoder: null, problem: `it says other tokens than the processor, from the ${at + 1}. on` };
  } catch (error) {
    return { decoder: null, problem: error.message ?? String(error) };
  } finally {
    clearTimeout(timer);
  }
}

function best(logits) {
  let at = 0;
  for (let id = 1; id < logits.length; id++) if (!(logits[id] <= logits[at])) at = id; // what is no number is told by its place
  return at;
}
