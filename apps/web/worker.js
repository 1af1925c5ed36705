// The model, beside the page: it opens, answers and stops, and says each piece as it comes.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";
import * as ort from "./vendor/ort.wasm.min.mjs";
import { opened, tokenizerOf } from "./core/folder.js";
import { generate, shared } from "./core/generate.js";
import { FlexibleDecoder, openDecoder } from "./core/onnx.js";
import { Compacting } from "./core/snapkv.js";
import { fastest } from "./gpu.js";
import { textOf } from "./core/text.js";
import { reader } from "./store.js";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;

let model = null; // { text, decoder, cached }
let running = null; // an AbortController

// Else no message to stop would be heard; a timer would wait four thousandths of a second each time.
const channel = new MessageChannel();
const heard = () =>
  new Promise((resume) => {
    channel.port1.onmessage = resume;
    channel.port2.postMessage(null);
  });

const does = {
  async open({ name, snapkv, gpu }) {
    await model?.decoder.close();
    model = null;
    const folder = await opened(await reader(name));
    const text = textOf(Tokenizer, await tokenizerOf(folder), folder.app);
    const open = (runtime, options) => openDecoder(runtime, folder, { kind: snapkv ? FlexibleDecoder : undefined, options });
    const { decoder, note } = gpu ? await fastest(open, ort, text) : { decoder: await open(ort, {}), note: "" };
    model = { text, decoder: snapkv ? new Compacting(decoder) : decoder, cached: [] };
    postMessage({ type: "opened", name, note, context: folder.app.decoder.context, sampling: folder.app.sampling });
  },

  async say({ messages, sampling }) {
    const { text, decoder } = model;
    const ids = text.conversation(messages);
    decoder.rewind(shared(model.cached, ids));
    const keep = decoder.length; // less where rows of it were forgotten
    running = new AbortController();
    const made = generate(decoder, ids.slice(keep), {
      stop: text.stop, stream: text.stream(), sampling, seen: ids.slice(0, keep), signal: running.signal,
    });
    try {
      let step = await made.next();
      for (; !step.done; step = await made.next()) {
        if (step.value.text) postMessage({ type: "piece", text: step.value.text });
        await heard();
      }
      model.cached = [...ids, ...step.value.tokens].slice(0, decoder.length);
      postMessage({ type: "done", ...step.value, prompt: ids.length });
    } catch (error) {
      decoder.rewind(0);
      model.cached = [];
      throw error;
    } finally {
      running = null;
    }
  },

  stop: () => running?.abort(),
};

self.onmessage = async ({ data }) => {
  try {
    await does[data.type](data);
  } catch (error) {
    postMessage({ type: "failed", of: data.type, problem: error.message ?? String(error) });
  }
};
