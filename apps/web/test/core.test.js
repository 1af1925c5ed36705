import assert from "node:assert/strict";
import { test } from "node:test";
import { rendered, trimmed } from "../core/chat.js";
import { generate, shared } from "../core/generate.js";
import { pick } from "../core/sampling.js";
import { disagreement, greedy } from "../core/selftest.js";
import { kept, votes } from "../core/snapkv.js";
import { StopStrings } from "../core/stops.js";
import { kindOf } from "../core/stream.js";
import { golden } from "./golden.js";

test("draws are those of edge, draw by draw", () => {
  for (const { logits, sampling, history, draws, tokens } of golden("picks")) {
    const found = draws.map((at) => pick(Float32Array.from(logits), sampling, history, () => at));
    assert.deepEqual(found, tokens, JSON.stringify(sampling));
  }
});

test("numbers that are none are refused", () => {
  const sampling = golden("picks")[0].sampling;
  for (const wrong of [[1, NaN, 2], [1, Infinity], [-Infinity, -Infinity]]) {
    assert.throws(() => pick(Float32Array.from(wrong), sampling, [], Math.random), /numbers are broken/);
  }
});

test("rows are kept as edge keeps them", () => {
  for (const one of golden("snapkv")) {
    const tokens = one.options.window;
    const sizes = { tokens, heads: one.heads, kvHeads: one.kv_heads, width: one.width, rows: one.rows, scale: one.scale };
    const found = votes(Float32Array.from(one.q), Float32Array.from(one.k), sizes);
    found.forEach((row, head) => {
      row.forEach((vote, at) => assert.ok(Math.abs(vote - one.votes[head][at]) < 1e-4));
    });
    assert.deepEqual(kept(found, one.kv_heads, one.options), one.kept);
  }
});

test("tokens become text as edge streams it", () => {
  for (const { decoder, inside, pieces, shown } of golden("streams")) {
    const stream = kindOf(decoder)(inside);
    assert.deepEqual([...pieces.map((piece) => stream.feed(piece)), stream.finish()], shown);
  }
  for (const wrong of [null, { type: "WordPiece" }, { type: "Sequence", decoders: [{ type: "BPEDecoder" }] }]) {
    assert.throws(() => kindOf(wrong), /cannot be streamed/);
  }
});

test("stop strings end an answer where edge ends it", () => {
  for (const { stops, pieces, shown, stopped, rest } of golden("stops")) {
    const filter = new StopStrings(stops);
    const found = [];
    let ended = false;
    for (const piece of pieces) {
      const now = filter.feed(piece);
      found.push(now.text);
      if ((ended = now.stopped)) break;
    }
    assert.deepEqual([found, ended, ended ? "" : filter.finish()], [shown, stopped, rest]);
  }
  assert.throws(() => new StopStrings([""]), /is empty/);
});

test("blanks are those of Python", () => {
  assert.equal(trimmed("\x1c\x85\u3000 a\ufeff \x1f"), "a\ufeff");
});

test("a date is today's", () => {
  const around = { prefix: "", suffix: "|", trims: false };
  const chat = {
    start: "On 26 Jul 2024: ", answer: ">", roles: { user: around, system: { ...around, prefix: "26 Jul 2024 " } },
    today: { said: "26 Jul 2024", format: "%d %b %Y" },
  };
  const day = new Date(2031, 1, 3);
  assert.equal(rendered(chat, [{ role: "user", content: "26 Jul 2024" }], day), "On 03 Feb 2031: 26 Jul 2024|>");
  const told = [{ role: "system", content: "s" }, { role: "user", content: "u" }];
  assert.equal(rendered(chat, told, day), "03 Feb 2031 s|u|>");
  assert.throws(() => rendered(chat, [{ role: "tool", content: "x" }]), /no messages of the role tool/);
});

/** Says ids that were given, in order. */
class Fake {
  length = 0;
  capacity = 64;
  constructor(ids, vocab = 16) {
    this.ids = ids;
    this.vocab = vocab;
  }
  #next() {
    const logits = new Float32Array(this.vocab);
    logits[this.ids[this.said++]] = 1;
    return logits;
  }
  said = 0;
  async prefill(ids) {
    this.length += ids.length;
    return this.#next();
  }
  async step() {
    this.length += 1;
    return this.#next();
  }
}

async function all(decoder, ids, options) {
  const made = generate(decoder, ids, options);
  const texts = [];
  for (;;) {
    const { value, done } = await made.next();
    if (done) return { texts: texts.join(""), ...value };
    texts.push(value.text);
  }
}

const letters = () => ({ feed: (id) => "abcdefghijklmnop"[id], finish: () => "" });
const options = () => ({ stop: new Set([15]), stream: letters() });

test("an answer ends at a stop token, a stop string, the most tokens, the context, or when it is cancelled", async () => {
  const ids = [0, 1, 2, 3, 4, 5, 15];
  assert.deepEqual(pickOf(await all(new Fake(ids), [1], options())), ["abcdef", "stop"]);
  assert.deepEqual(pickOf(await all(new Fake(ids), [1], { ...options(), stops: ["cd"] })), ["ab", "stop"]);
  assert.deepEqual(pickOf(await all(new Fake(ids), [1], { ...options(), most: 3 })), ["abc", "length"]);
  const small = Object.assign(new Fake(ids), { capacity: 3 });
  assert.deepEqual(pickOf(await all(small, [1, 1], options())), ["ab", "context"]);
  await assert.rejects(all(small, [1], options()), /0 fit/);
  await assert.rejects(all(new Fake(ids), [], options()), /no tokens/);
  const controller = new AbortController();
  const made = generate(new Fake(ids), [1], { ...options(), signal: controller.signal });
  assert.equal((await made.next()).value.text, "a");
  controller.abort();
  const { value, done } = await made.next();
  assert.deepEqual([done, value.ending, value.tokens], [true, "cancelled", [0]]);
});

function pickOf({ texts, ending }) {
  return [texts, ending];
}

test("what is cached is not read again, but for one id", () => {
  assert.equal(shared([1, 2, 3], [1, 2, 4]), 2);
  assert.equal(shared([1, 2, 3], [1, 2, 3]), 2);
  assert.equal(shared([], [1]), 0);
  assert.equal(shared([1, 2, 3], [1, 2, 3, 4]), 3);
});

/** Says the ids that `next` gives for how many it holds. */
function saying(next, more = {}) {
  const logits = (id) => Float32Array.from({ length: 8 }, (_, at) => (at === id ? 1 : 0));
  return {
    length: 0,
    closed: false,
    async prefill(ids) {
      this.length += ids.length;
      return logits(next(this.length));
    },
    async step() {
      this.length += 1;
      return logits(next(this.length));
    },
    rewind(length) {
      this.length = length;
    },
    async close() {
      this.closed = true;
    },
    ...more,
  };
}

test("a faster decoder is used only where it says the same tokens in time", async () => {
  const right = (held) => held % 5;
  const wanted = await greedy(saying(right), [1, 2]);
  assert.deepEqual(wanted.slice(0, 4), [2, 3, 4, 0]);
  const judged = (decoder) => disagreement(async () => decoder, [1, 2], wanted, { seconds: 0.05 });
  const same = saying(right);
  assert.deepEqual(await judged(same), { decoder: same, problem: null });
  assert.deepEqual([same.length, same.closed], [0, false]);
  const late = saying((held) => (held < 12 ? right(held) : 7)); // right until caches are long
  assert.match((await judged(late)).problem, /other tokens than the processor, from the 11. on/);
  assert.ok(late.closed);
  const broken = saying(right, { prefill: async () => new Float32Array(8).fill(NaN) });
  assert.match((await judged(broken)).problem, /other tokens/);
  const failing = saying(right, { prefill: async () => assert.fail("device lost") });
  assert.equal((await judged(failing)).problem, "device lost");
  const never = saying(right, { prefill: () => new Promise(() => {}) });
  assert.match((await judged(never)).problem, /no answer within 0.05 s/);
});
