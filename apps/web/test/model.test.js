// With a folder that `edge app` wrote from the packaged model, in float32: EDGE_APP names it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";
import { checked, memory, opened, Refused, tokenizerOf } from "../core/folder.js";
import { generate } from "../core/generate.js";
import { FlexibleDecoder, openDecoder } from "../core/onnx.js";
import { Compacting } from "../core/snapkv.js";
import { textOf } from "../core/text.js";
import { folder, golden } from "./golden.js";

const PLACE = process.env.EDGE_APP;
if (!PLACE) throw new Error("EDGE_APP names no folder that `edge app` wrote");
ort.env.wasm.numThreads = 1;
let model, text;

before(async () => {
  model = await opened(folder(PLACE));
  text = textOf(Tokenizer, await tokenizerOf(model), model.app);
});

test("texts become the ids of edge", () => {
  for (const { text: said, ids } of golden("texts")) assert.deepEqual(text.encode(said), ids, JSON.stringify(said));
});

test("conversations become the ids of edge", () => {
  const { chat, bos, talks } = golden("chats");
  assert.deepEqual([model.app.chat, model.app.bos], [chat, bos]);
  for (const { messages, ids } of talks) assert.deepEqual(text.conversation(messages), ids);
});

test("a prompt is answered token for token, and piece for piece", async () => {
  const decoder = await openDecoder(ort, model, { graph: "exact.onnx" });
  for (const { ids, tokens, pieces, ending } of golden("answers")) {
    decoder.rewind(0);
    const found = [];
    const made = generate(decoder, ids, { stop: text.stop, stream: text.stream(), most: 48 });
    let step = await made.next();
    for (; !step.done; step = await made.next()) if (step.value.text) found.push(step.value.text);
    assert.deepEqual([step.value.tokens, step.value.ending, found], [tokens, ending, pieces]);
  }
  await decoder.close();
});

test("a cache that is cut back answers as one that never held more", async () => {
  const decoder = await openDecoder(ort, model, { graph: "exact.onnx" });
  const [{ ids, tokens }] = golden("answers");
  await decoder.prefill([...ids, 5, 6, 7]);
  decoder.rewind(ids.length - 1);
  const logits = await decoder.prefill(ids.slice(-1));
  assert.equal(logits.indexOf(Math.max(...logits)), tokens[0]);
  await decoder.close();
});

test("a long prompt is answered from a cache that SnapKV cut as edge cuts it", async () => {
  for (const { ids, tokens, rows, ...options } of golden("compacted")) {
    const decoder = new Compacting(await openDecoder(ort, model, { kind: FlexibleDecoder }), options);
    const made = generate(decoder, ids, { stop: text.stop, stream: text.stream(), most: 32 });
    let step = await made.next();
    while (!step.done) step = await made.next();
    assert.deepEqual(step.value.tokens, tokens);
    assert.equal(decoder.inner.rows, rows[0]);
    assert.ok(ids.length > 2 * options.capacity);
    decoder.rewind(5);
    assert.equal(decoder.length, 0, "what was forgotten is read anew");
    await decoder.close();
  }
});

test("memory is told between the lengths that are told", () => {
  const [first, second] = model.app.memory;
  assert.equal(memory(model.app, 1), first.bytes);
  assert.equal(memory(model.app, second.tokens), second.bytes);
  assert.equal(memory(model.app, (first.tokens + second.tokens) / 2), (first.bytes + second.bytes) / 2);
  assert.equal(memory(model.app, 1e9), model.app.memory.at(-1).bytes);
});

test("what is not whole is refused in words", async () => {
  const app = JSON.parse(readFileSync(`${PLACE}/app.json`, "utf8"));
  const name = "text/model.onnx.data";
  const data = readFileSync(`${PLACE}/${name}`);
  const changed = Uint8Array.from(data);
  changed[1000] ^= 1;
  const told = async (files) => checked(await opened(folder(PLACE, files)), name);
  await assert.rejects(told({ [name]: changed }), /model.onnx.data is damaged/);
  await assert.rejects(told({ [name]: data.subarray(1) }), /has \d+ bytes and should have/);
  await assert.rejects(told({ [name]: null }), /is missing/);
  await assert.rejects(told({ "app.json": null }), /there is no app.json/);
  await assert.rejects(told({ "app.json": "{" }), /is no JSON/);
  const wrong = (change) => {
    const copy = structuredClone(app);
    change(copy);
    return told({ "app.json": JSON.stringify(copy) });
  };
  await assert.rejects(wrong((it) => (it.schema = 2)), /schema 2/);
  await assert.rejects(wrong((it) => delete it.modules), /names no modules/);
  await assert.rejects(wrong((it) => (it.decoder.layers = [])), /no layers/);
  await assert.rejects(wrong((it) => (it.decoder.layers[0].kv_heads = 1e12)), /a layer has no size/);
  await assert.rejects(wrong((it) => (it.stop = ["x"])), /stop ids/);
  await assert.rejects(wrong((it) => (it.tokenizer.sha256 = "x")), /no size and hash/);
  for (const bad of ["../x", "/etc/passwd", "a/../b", "a//b", "", "C:\\x", "a/./b"]) {
    await assert.rejects(wrong((it) => (it.modules.text.files[0].name = bad)), /is no name of a file/, bad);
  }
  assert.ok(new Refused("x") instanceof Error);
});

test("a tokenizer that is none is refused in words", async () => {
  const whole = await tokenizerOf(model);
  const wrong = [null, 1, "x", [], {}, { model: {} }, { model: { type: "BPE" } }, { ...whole, model: { ...whole.model, vocab: null } },
    { ...whole, model: { ...whole.model, merges: 5 } },
    { ...whole, added_tokens: "all" }, { ...whole, decoder: { type: "WordPiece" } }, { ...whole, pre_tokenizer: { type: "Nonsense" } }];
  for (const content of wrong) {
    assert.throws(() => textOf(Tokenizer, content, model.app), (error) => {
      assert.match(error.message, /cannot be used|cannot be streamed/, JSON.stringify(content)?.slice(0, 80));
      return true;
    });
  }
});
