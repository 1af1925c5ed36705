// A decoder over ONNX Runtime: what each step returns as present is the next one's past.
//
// `ort`: the module onnxruntime-web (or another with its interface). Logits [1, T or 1, V].

import { checked } from "./folder.js";
import { rotated, votes } from "./snapkv.js";

const CHUNK = 512; // tokens of a prompt at a time: bounds the memory of activations

/** `kind`: OnnxDecoder, or FlexibleDecoder, whose cache can be cut. */
export async function openDecoder(ort, folder, { kind = OnnxDecoder, graph = kind.graph, options = {} } = {}) {
  const { app } = folder;
  const names = new Set(app.modules.text.files.map((file) => file.name));
  if (!names.has(`text/${graph}`)) throw new Error(`this model has no ${graph}: convert it to onnx`);
  const data = "text/model.onnx.data"; // one store of weights for all graphs
  const externalData = names.has(data)
    ? [{ path: data.slice(5), data: new Uint8Array(await checked(folder, data)) }]
    : [];
  const session = await ort.InferenceSession.create(
    new Uint8Array(await checked(folder, `text/${graph}`)),
    { ...options, externalData },
  );
  return new kind(ort, session, app.decoder);
}

export class OnnxDecoder {
  static graph = "model.onnx";
  length = 0; // tokens

  constructor(ort, session, sizes) {
    this.ort = ort;
    this.session = session;
    this.sizes = sizes;
    this.capacity = sizes.context;
    this.past = this.empty();
  }

  /** Rows of each layer's cache: as many as tokens, where none were forgotten. */
  get rows() {
    return this.past["past_key_values.0.key"].dims[2];
  }

  /** Append ids -> logits of what follows. */
  async prefill(ids) {
    let logits;
    for (let at = 0; at < ids.length; at += CHUNK) ({ logits } = await this.run(ids.slice(at, at + CHUNK)));
    return logits;
  }

  async step(id) {
    return (await this.run([id])).logits;
  }

  /** Forget all but the first `length` tokens, of which every row must be there. */
  rewind(length) {
    if (length === this.length) return;
    const rows = length === 0 ? 0 : this.rows - (this.length - length);
    this.length = length;
    const first = Array.from({ length: rows }, (_, row) => row);
    this.cut(this.sizes.layers.map(({ kv_heads }) => Array(kv_heads).fill(first)));
  }

  /** Keep these rows of each layer, for each of its kv heads. */
  cut(kept) {
    for (const [name, tensor] of Object.entries(this.past)) {
      const heads = kept[Number(name.split(".")[1])];
      const [one, , rows, width] = tensor.dims;
      const out = new Float32Array(heads.length * heads[0].length * width);
      let at = 0;
      heads.forEach((places, head) => {
        for (const row of places) {
          const from = (head * rows + row) * width;
          out.set(tensor.data.subarray(from, from + width), at);
          at += width;
        }
      });
      this.past[name] = new this.ort.Tensor("float32", out, [one, heads.length, heads[0].length, width]);
    }
  }

  async close() {
    await this.session.release();
  }

  /** Append ids of one call -> what the graph gives, and of its logits the last row. */
  async run(ids, wanted = this.session.outputNames.filter((name) => !name.startsWith("queries."))) {
    const rows = this.rows + ids.length;
    const feeds = { ...this.#fed(ids, rows), ...this.past };
    for (const name of Object.keys(feeds)) if (!this.session.inputNames.includes(name)) delete feeds[name];
    const out = await this.session.run(feeds, wanted);
    for (const name of Object.keys(this.past)) this.past[name] = out[name.replace("past_key_values", "present")];
    this.length += ids.length;
    const { data, dims } = out.logits;
    return { out, logits: Float32Array.from(data.subarray(data.length - dims.at(-1))) };
  }

  /** Whatever a graph asks for beside the cache: a mask, or the rows of each layer. */
  #fed(ids, rows) {
    const tensor = (kind, values, dims) => new this.ort.Tensor(kind, values, dims);
    const long = (values) => tensor("int64", values, [1, values.length]);
    const feeds = {
      input_ids: long(BigInt64Array.from(ids, BigInt)),
      attention_mask: long(new BigInt64Array(rows).fill(1n)),
      position_ids: long(BigInt64Array.from(ids, (_, i) => BigInt(this.length + i))),
      wanted: tensor("int64", new BigInt64Array([1n]), [1]),
    };
    this.sizes.layers.forEach((_, layer) => {
      feeds[`last.${layer}`] = tensor("int32", new Int32Array([rows - 1]), [1]);
      feeds[`total.${layer}`] = tensor("int32", new Int32Array([rows]), []);
    });
    return feeds;
  }

  empty() {
    const past = {};
    this.sizes.layers.forEach(({ kv_heads, head_width }, layer) => {
      for (const part of ["key", "value"]) {
        past[`past_key_values.${layer}.${part}`] = new this.ort.Tensor("float32", new Float32Array(0), [1, kv_heads, 0, head_width]);
      }
    });
    return past;
  }
}

/** Over the graph that also gives each layer's queries, so that rows can be voted on. */
export class FlexibleDecoder extends OnnxDecoder {
  static graph = "flexible.onnx";

  /** Append ids, as `step` and `prefill` do -> also the votes of their queries, by layer and query head. */
  async observe(ids) {
    const start = this.length;
    const { out, logits } = await this.run(ids, this.session.outputNames);
    const found = this.sizes.layers.map((layer, index) => {
      const { data, dims } = out[`queries.${index}`];
      const sizes = {
        tokens: ids.length, heads: layer.heads, kvHeads: layer.kv_heads, width: layer.head_width, rows: this.rows, scale: layer.scale,
      };
      const q = queries(data, dims.at(-1), sizes, start, this.sizes.rotary);
      return votes(q, this.past[`past_key_values.${index}.key`].data, sizes);
    });
    return { logits, votes: found };
  }
}

/** Of rows that hold keys and values, too, the queries alone, rotated: there attention rotates them itself. */
function queries(data, packed, { tokens, heads, width }, start, rotary) {
  const out = new Float32Array(tokens * heads * width);
  for (let t = 0; t < tokens; t++) {
    out.set(data.subarray(data.length - (tokens - t) * packed).subarray(0, heads * width), t * heads * width);
  }
  return packed > heads * width ? rotated(out, { tokens, heads, width }, start, rotary) : out;
}
