// A folder of rounded weights (EDGE_APP), and what their exact twin answers on another runtime (EDGE_ANSWER).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";
import { opened, tokenizerOf } from "../core/folder.js";
import { generate } from "../core/generate.js";
import { FlexibleDecoder, OnnxDecoder, openDecoder } from "../core/onnx.js";
import { textOf } from "../core/text.js";
import { folder } from "./golden.js";

ort.env.wasm.numThreads = 1;

test("rounded weights answer as their exact twin", async () => {
  const { ids, tokens } = JSON.parse(process.env.EDGE_ANSWER);
  const model = await opened(folder(process.env.EDGE_APP));
  const text = textOf(Tokenizer, await tokenizerOf(model), model.app);
  for (const kind of [OnnxDecoder, FlexibleDecoder]) {
    const decoder = await openDecoder(ort, model, { kind });
    const made = generate(decoder, ids, { stop: text.stop, stream: text.stream(), most: tokens.length });
    let step = await made.next();
    while (!step.done) step = await made.next();
    assert.deepEqual(step.value.tokens, tokens);
    await decoder.close();
  }
});
