// The one loop that turns a decoder into tokens, and tokens into text that can be shown.
//
// A decoder is an object of { length, capacity, prefill(ids), step(id), rewind(length) }, of which prefill and step
// give the logits of what follows, as a Float32Array.

import { GREEDY, pick } from "./sampling.js";
import { StopStrings } from "./stops.js";

/**
 * Feed ids after what the decoder holds, and choose up to `most` tokens. Yields { id, text }, where text may be
 * empty, and returns { tokens, ending, firstSeconds, tokensPerSecond }. `signal`: an AbortSignal; what was made until
 * it fires stays.
 */
export async function* generate(decoder, ids, options) {
  const { stop, stream, stops = [], sampling = GREEDY, most = 512, random = Math.random, signal } = options;
  if (ids.length === 0) throw new Error("the prompt has no tokens");
  const room = decoder.capacity - decoder.length;
  if (ids.length > room) throw new Error(`the prompt has ${ids.length} tokens, and ${room} fit`);
  const filter = new StopStrings(stops);
  const history = [...(options.seen ?? []), ...ids];
  const tokens = [];
  const began = performance.now();
  let firstSeconds = 0;
  let ending = "length";
  let fed = 0;
  let logits = await decoder.prefill(ids);
  for (;;) {
    if (signal?.aborted) {
      ending = "cancelled";
      break;
    }
    const id = pick(logits, sampling, history, random);
    firstSeconds ||= (performance.now() - began) / 1000;
    if (stop.has(id)) {
      ending = "stop";
      break;
    }
    tokens.push(id);
    history.push(id);
    const { text, stopped } = filter.feed(stream.feed(id));
    yield { id, text };
    if (stopped) return done("stop");
    if (tokens.length >= most) break;
    if (decoder.length >= decoder.capacity) {
      ending = "context";
      break;
    }
    logits = await decoder.step(id);
    fed++;
  }
  const { text, stopped } = filter.feed(stream.finish());
  const rest = stopped ? text : text + filter.finish();
  if (rest) yield { id: null, text: rest };
  return done(stopped ? "stop" : ending);

  function done(ending) {
    const seconds = (performance.now() - began) / 1000 - firstSeconds;
    return { tokens, ending, firstSeconds, tokensPerSecond: fed && seconds ? fed / seconds : 0 };
  }
}

/** How many cached ids to keep of those that are wanted now: at least one is left to feed. */
export function shared(cached, wanted) {
  let same = 0;
  while (same < cached.length && same < wanted.length - 1 && cached[same] === wanted[same]) same++;
  return same;
}
