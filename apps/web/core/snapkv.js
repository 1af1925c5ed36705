// SnapKV (arXiv 2404.14469): after a prompt, each kv head keeps the cached rows that the prompt's end looks at.

export const SNAPKV = Object.freeze({ capacity: 1024, window: 32, kernel: 7, sinks: 0 });

/**
 * Votes of a layer, one array for each query head, of S rows each -> for each kv head the rows that it keeps, rising.
 * The window's own rows, the last ones, are always among them, and so are the sinks, the first.
 */
export function kept(votes, kvHeads, { capacity, window, kernel, sinks }) {
  const total = votes[0].length;
  const before = total - window;
  const share = votes.length / kvHeads;
  return Array.from({ length: kvHeads }, (_, head) => {
    const shared = new Float32Array(before);
    for (const one of votes.slice(head * share, (head + 1) * share)) {
      const pooled = highest(one, before, kernel);
      for (let i = 0; i < before; i++) shared[i] += pooled[i];
    }
    for (let i = 0; i < before; i++) shared[i] = i < sinks ? Infinity : shared[i] / share;
    const order = Array.from(shared.keys()).sort((a, b) => shared[b] - shared[a] || a - b);
    const best = order.slice(0, capacity - window).sort((a, b) => a - b);
    return [...best, ...Array.from({ length: window }, (_, i) => before + i)];
  });
}

/** The highest of so many neighbours, of each of the first `count` values; past the ends lie zeros, which count. */
function highest(values, count, kernel) {
  const half = (kernel - 1) / 2;
  return Float32Array.from({ length: count }, (_, at) => {
    let best = -Infinity;
    for (let i = at - half; i <= at + half; i++) best = Math.max(best, i < 0 || i >= count ? 0 : values[i]);
    return best;
  });
}

/** What attention of the last T queries gives each key, summed: q [T, H, W] and k [G, S, W], flat and rotated. */
export function votes(q, k, { tokens, heads, kvHeads, width, rows, scale }) {
  const share = heads / kvHeads;
  return Array.from({ length: heads }, (_, head) => {
    const sum = new Float32Array(rows);
    const keys = Math.floor(head / share) * rows * width;
    for (let t = 0; t < tokens; t++) {
      const query = (t * heads + head) * width;
      const seen = rows - tokens + t + 1;
      const scores = new Float64Array(seen);
      let top = -Infinity;
      for (let s = 0; s < seen; s++) {
        let dot = 0;
        for (let w = 0; w < width; w++) dot += q[query + w] * k[keys + s * width + w];
        scores[s] = dot * scale;
        top = Math.max(top, scores[s]);
      }
      let all = 0;
      for (let s = 0; s < seen; s++) all += scores[s] = Math.exp(scores[s] - top);
      for (let s = 0; s < seen; s++) sum[s] += scores[s] / all;
    }
    return sum;
  });
}

/** Queries [T, H, W] turned by the angles of their positions, from `start` on (arXiv 2104.09864, by halves). */
export function rotated(q, { tokens, heads, width }, start, { frequencies, magnitude }) {
  const out = Float32Array.from(q);
  const half = frequencies.length;
  for (let t = 0; t < tokens; t++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = Math.fround((start + t) * Math.fround(frequencies[pair]));
      const [cos, sin] = [Math.cos(angle) * magnitude, Math.sin(angle) * magnitude];
      for (let head = 0; head < heads; head++) {
        const at = (t * heads + head) * width + pair;
        out[at] = q[at] * cos - q[at + half] * sin;
        out[at + half] = q[at + half] * cos + q[at] * sin;
      }
    }
  }
  return out;
}

/**
 * A decoder whose cache is cut after every prompt that does not fit it. `inner`: a decoder that also has `rows`,
 * `observe` and `cut`. Answers see fewer rows; what a prompt says of itself is read over all.
 */
export class Compacting {
  #compacted = 0; // tokens that were read when rows were last forgotten

  constructor(inner, options = SNAPKV) {
    this.inner = inner;
    this.options = options;
  }

  get length() {
    return this.inner.length;
  }

  get capacity() {
    return this.inner.capacity;
  }

  async prefill(ids) {
    const { capacity, window } = this.options;
    if (this.inner.rows + ids.length <= capacity || ids.length < window) return this.inner.prefill(ids);
    if (ids.length > window) await this.inner.prefill(ids.slice(0, -window));
    const { logits, votes } = await this.inner.observe(ids.slice(-window));
    const { layers } = this.inner.sizes;
    this.inner.cut(votes.map((one, index) => kept(one, layers[index].kv_heads, this.options)));
    this.#compacted = this.length;
    return logits;
  }

  step(id) {
    return this.inner.step(id);
  }

  /** Into what was forgotten there is no way back: then all is read anew. */
  rewind(length) {
    const whole = length >= this.#compacted;
    this.inner.rewind(whole ? length : 0);
    if (!whole || length === 0) this.#compacted = 0;
  }

  close() {
    return this.inner.close();
  }
}
