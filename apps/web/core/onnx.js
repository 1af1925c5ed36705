// A decoder over ONNX Runtime: what each step returns as present is the next one's past.
//
// `ort`: the module onnxruntime-web (or another with its interface). Logits [1, T or 1, V].

import { checked } from "./folder.js";

const CHUNK = 512; // tokens of a prompt at a time: bounds the memory of activations
const SCORE = "score.onnx"; // what is left out where only the last token's logits are wanted

export async function openDecoder(ort, folder, { graph = "model.onnx", options = {} } = {}) {
  const { app } = folder;
  const names = new Set(app.modules.text.files.map((file) => file.name));
  if (!names.has(`text/${graph}`)) throw new Error(`this model has no ${graph}: convert it to onnx`);
  const data = `text/${graph === SCORE ? graph : "model.onnx"}.data`;
  const externalData = names.has(data)
    ? [{ path: data.slice(5), data: new Uint8Array(await checked(folder, data)) }]
    : [];
  const session = await ort.InferenceSession.create(
    new Uint8Array(await checked(folder, `text/${graph}`)),
    { ...options, externalData },
  );
  return new OnnxDecoder(ort, session, app.decoder);
}

export class OnnxDecoder {
  #ort;
  #session;
  #sizes;
  #past;
  length = 0;

  constructor(ort, session, sizes) {
    this.#ort = ort;
    this.#session = session;
    this.#sizes = sizes;
    this.capacity = sizes.context;
    this.#past = this.#empty();
  }

  /** Append ids -> logits of what follows. */
  async prefill(ids) {
    let logits;
    for (let at = 0; at < ids.length; at += CHUNK) logits = await this.#run(ids.slice(at, at + CHUNK));
    return logits;
  }

  step(id) {
    return this.#run([id]);
  }

  /** Forget all but the first `length` tokens. */
  rewind(length) {
    if (length === this.length) return;
    this.length = length;
    if (length === 0) {
      this.#past = this.#empty();
      return;
    }
    for (const [name, tensor] of Object.entries(this.#past)) {
      const [one, heads, rows, width] = tensor.dims;
      const out = new Float32Array(heads * length * width);
      for (let head = 0; head < heads; head++) {
        const from = head * rows * width;
        out.set(tensor.data.subarray(from, from + length * width), head * length * width);
      }
      this.#past[name] = new this.#ort.Tensor("float32", out, [one, heads, length, width]);
    }
  }

  async close() {
    await this.#session.release();
  }

  async #run(ids) {
    const start = this.length;
    const total = start + ids.length;
    const long = (values) => new this.#ort.Tensor("int64", values, [1, values.length]);
    const feeds = {
      input_ids: long(BigInt64Array.from(ids, BigInt)),
      attention_mask: long(new BigInt64Array(total).fill(1n)),
      position_ids: long(BigInt64Array.from(ids, (_, i) => BigInt(start + i))),
      ...this.#past,
    };
    for (const name of Object.keys(feeds)) if (!this.#session.inputNames.includes(name)) delete feeds[name];
    const out = await this.#session.run(feeds);
    const past = {};
    for (const name of Object.keys(this.#past)) past[name] = out[name.replace("past_key_values", "present")];
    this.#past = past;
    this.length = total;
    const vocab = out.logits.dims.at(-1);
    return Float32Array.from(out.logits.data.subarray(out.logits.data.length - vocab));
  }

  #empty() {
    const past = {};
    this.#sizes.layers.forEach(({ kv_heads, head_width }, layer) => {
      for (const part of ["key", "value"]) {
        past[`past_key_values.${layer}.${part}`] = new this.#ort.Tensor("float32", new Float32Array(0), [1, kv_heads, 0, head_width]);
      }
    });
    return past;
  }
}
