"""SnapKV (arXiv 2404.14469): after a prompt, each kv head keeps the cached rows that the end of the
prompt looks at, and forgets the others.

The last `window` tokens vote for the rows before them by their attention; votes are pooled along the
sequence, so that a row's neighbours stay with it, and averaged over the query heads that share a kv
head: the cache is never repeated. Kept rows keep the rotation of their true positions, new tokens
take true positions, too. The prompt's own attention is over all rows; only decoding sees fewer.
H query heads, G kv heads, S cached rows, C kept rows, T rows of the window, W head width, R = H / G.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import EdgeError, Unsupported
from edge.protocols import Decoder, Evictable
from edge.spec import DecoderSpec
from edge.typing import F32, I64


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapKV:
    """Rows to keep, the window that votes among them. The defaults are those of the paper's LongBench
    runs.
    """

    capacity: int = 1024
    window: int = 32
    kernel: int = 7  # rows that a vote is pooled over
    pool: Literal["max", "avg"] = "max"

    def __post_init__(self) -> None:
        if not 1 <= self.window < self.capacity:
            raise EdgeError(
                f"SnapKV keeps {self.capacity} rows, the window of {self.window} among them",
                fix="give a capacity above the window",
            )
        if self.kernel < 1 or self.kernel % 2 == 0 or self.pool not in ("max", "avg"):
            raise EdgeError(
                f"SnapKV pools by {self.pool!r} over {self.kernel} rows",
                fix="give an odd kernel, and max or avg",
            )


def select(votes: F32, kv_heads: int, options: SnapKV) -> I64:
    """votes [H, S], summed over the window's rows -> the rows that each kv head keeps: [G, C], rising.

    The window's own rows, the last ones, are always among them.
    """
    heads, total = votes.shape
    before = total - options.window
    count = options.capacity - options.window
    pooled = _pooled(votes[:, :before], options)  # [H, before]
    shared = pooled.reshape(kv_heads, heads // kv_heads, before).mean(axis=1)  # [G, before]
    # The highest votes; of equal ones the earlier rows, so that a choice is always the same.
    best = np.argsort(-shared, axis=1, kind="stable")[:, :count]
    window = np.broadcast_to(np.arange(before, total), (kv_heads, options.window))
    return np.concatenate((np.sort(best, axis=1), window), axis=1)


def vote(q: F32, k: F32, scale: float) -> F32:
    """What attention the window's queries [T, H, W] give each key [G, S, W], themselves being the last
    T keys: summed over the window, [H, S]. Both are rotated. A kv head at a time: no full matrix.
    """
    t, h, w = q.shape
    g, s, _ = k.shape
    shared = h // g
    later = np.triu(np.ones((t, t), bool), 1)  # the causal corner
    out = np.empty((h, s), np.float32)
    for head in range(g):
        queries = q[:, head * shared : (head + 1) * shared].reshape(-1, w) * np.float32(scale)
        scores = (queries @ k[head].T).reshape(t, shared, s)  # [T, R, S]
        scores[:, :, s - t :][np.broadcast_to(later[:, None], (t, shared, t))] = -np.inf
        np.exp(scores - scores.max(axis=2, keepdims=True), out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        out[head * shared : (head + 1) * shared] = scores.sum(axis=0)
    return out


def _pooled(votes: F32, options: SnapKV) -> F32:
    """Over `kernel` neighbours [H, S] -> [H, S]; past the ends lie zeros, which count."""
    half = options.kernel // 2
    padded = np.pad(votes, ((0, 0), (half, half)))
    near = np.lib.stride_tricks.sliding_window_view(padded, options.kernel, axis=1)
    return near.max(axis=2) if options.pool == "max" else near.mean(axis=2)


class Compacting:
    """`edge.protocols.Decoder` whose cache is compacted after every prompt that does not fit it.

    A later prompt of the same sequence is read over what the earlier ones kept. What an answer adds
    stays; a rewind into what was forgotten begins anew.
    """

    def __init__(self, inner: Evictable, options: SnapKV) -> None:
        refuse_cut(inner.spec)
        self.inner = inner
        self.options = options
        self.spec = inner.spec
        self.capacity = inner.capacity
        self.compacted = 0  # tokens that were read when rows were last forgotten

    @property
    def length(self) -> int:
        return self.inner.length

    @property
    def rows(self) -> tuple[int, ...]:
        return self.inner.rows

    def prefill(self, tokens: Sequence[int]) -> F32:
        window = self.options.window
        if max(self.rows) + len(tokens) <= self.options.capacity or len(tokens) <= window:
            return self.inner.prefill(tokens)
        self.inner.prefill(tokens[:-window])
        logits, votes = self.inner.observe(tokens[-window:])
        self.inner.keep(
            [
                select(part, layer.kv_heads, self.options)
                for part, layer in zip(votes, self.spec.layers, strict=True)
            ]
        )
        self.compacted = self.inner.length
        return logits

    def step(self, token: int) -> F32:
        return self.inner.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        return self.inner.score(tokens)

    def rewind(self, length: int) -> None:
        whole = length >= self.compacted
        self.inner.rewind(length if whole else 0)
        if not whole or length == 0:
            self.compacted = 0


def rows_of(decoder: Decoder) -> tuple[int, ...]:
    """Rows that each layer's cache holds."""
    if isinstance(decoder, Compacting):
        return decoder.rows
    return (decoder.length,) * len(decoder.spec.layers)


def refuse_cut(spec: DecoderSpec) -> None:
    """A window counts rows, and after eviction rows are no positions."""
    if any(layer.window is not None or layer.sparse is not None for layer in spec.layers):
        raise Unsupported(
            "SnapKV needs attention that sees every row; this model's has a window or is block-sparse",
            fix="run it without --snapkv",
        )
