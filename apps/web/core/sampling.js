// The next token from the logits: the likeliest, or drawn from a trimmed distribution. The order is that of
// transformers: repetition penalty, temperature, top-k, top-p, min-p.

export const GREEDY = Object.freeze({
  temperature: 0, top_k: null, top_p: null, min_p: null, repetition_penalty: 1,
});

/** One token for logits (Float32Array of V); `history`: tokens that the penalty counts; `random`: from 0 to 1. */
export function pick(logits, sampling, history, random) {
  const seen = penalized(logits, sampling.repetition_penalty, history);
  const best = likeliest(seen);
  if (sampling.temperature === 0) return best;
  const { tokens, weights } = support(seen, sampling, best);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let left = random() * total;
  for (let i = 0; i < tokens.length; i++) {
    left -= weights[i];
    if (left < 0) return tokens[i];
  }
  return tokens[tokens.length - 1]; // a draw may round up to the total itself
}

/** Tokens that may be drawn, in rising order, and their weights: the likeliest weighs one. */
function support(logits, { temperature, top_k, top_p, min_p }, best) {
  let tokens = Array.from(logits.keys());
  if (top_k !== null && top_k < tokens.length) {
    const least = Float32Array.from(logits).sort().at(-top_k);
    tokens = tokens.filter((token) => logits[token] >= least); // equals of the last one stay, too
  }
  // The highest goes first: divided by a small temperature, logits overflow.
  let weights = tokens.map((token) => Math.exp((logits[token] - logits[best]) / temperature));
  const keep = (kept) => {
    tokens = kept.map((i) => tokens[i]);
    weights = kept.map((i) => weights[i]);
  };
  if (top_p !== null && top_p < 1) keep(nucleus(weights, top_p));
  if (min_p !== null) keep([...weights.keys()].filter((i) => weights[i] >= min_p));
  return { tokens, weights };
}

/** Places, rising, of the fewest heaviest weights that make up `top_p` of all. */
function nucleus(weights, top_p) {
  const enough = top_p * weights.reduce((sum, weight) => sum + weight, 0);
  const order = [...weights.keys()].sort((a, b) => weights[b] - weights[a] || a - b);
  let sum = 0;
  let count = 0;
  while (count < order.length && sum < enough) sum += weights[order[count++]];
  return order.slice(0, Math.max(1, count)).sort((a, b) => a - b);
}

function penalized(logits, penalty, history) {
  if (penalty === 1 || history.length === 0) return logits;
  const out = Float32Array.from(logits);
  for (const token of new Set(history)) out[token] *= Math.fround(out[token] < 0 ? penalty : 1 / penalty);
  return out;
}

/** The first of the highest; refuses numbers that are none. */
function likeliest(logits) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) {
    if (logits[i] > logits[best] || Number.isNaN(logits[i])) best = i;
    if (Number.isNaN(logits[best])) break;
  }
  if (!Number.isFinite(logits[best])) {
    throw new Error(`the highest of ${logits.length} logits is ${logits[best]}: the model's numbers are broken`);
  }
  return best;
}
