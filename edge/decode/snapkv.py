"""SnapKV (arXiv 2404.14469): after a prompt, each kv head keeps the cached rows that the end of the
prompt looks at, and forgets the others.

The last `window` tokens vote for the rows before them by their attention; votes are pooled along the
sequence, so that a row's neighbours stay with it, and averaged over the query heads that share a kv
head: the cache is never repeated. Kept rows keep the rotation of their true positions, new tokens
take true positions, too. The prompt's own attention is over all rows; only decoding sees fewer.
H query heads, G kv heads, S cached rows, C kept rows, T rows of the window, W head width, L layers,
R = H / G.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from edge.decode.kvzip import ROOM, repeated
from edge.decode.pyramid import pyramid
from edge.decode.switching import SwitchingEvictable
from edge.errors import EdgeError, Unsupported
from edge.protocols import Decoder, Evictable
from edge.spec import DecoderSpec
from edge.typing import F32, I64

Pool = Literal["max", "avg"]
Layers = Literal["even", "pyramid"]
Purpose = Literal["question", "reuse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapKV:
    """Rows to keep, the window that votes among them. The defaults are those of the paper's LongBench
    runs; what the paper has not is off.
    """

    capacity: int = 1024  # of a layer; in a pyramid, on average
    window: int = 32
    kernel: int | None = None  # rows that a vote is pooled over; None: 7, or 1 for reuse
    pool: Pool = "max"
    sinks: int = 0  # first rows, which always stay (arXiv 2309.17453)
    layers: Layers = "even"
    chunk: int | None = None  # tokens of a prompt between two cuts; None: one cut, at its end
    purpose: Purpose = "question"  # who votes: the prompt's end, or a repetition of it (KVzip)

    def __post_init__(self) -> None:
        if not (self.window >= 1 and self.sinks >= 0 and self.window + self.sinks < self.capacity):
            also = f" and {self.sinks} sinks" if self.sinks else ""
            raise EdgeError(
                f"SnapKV keeps {self.capacity} rows, the window of {self.window}{also} among them",
                fix="give a capacity above the window and the sinks",
            )
        if self.near < 1 or self.near % 2 == 0 or self.pool not in ("max", "avg"):
            raise EdgeError(
                f"SnapKV pools by {self.pool!r} over {self.near} rows",
                fix="give an odd kernel, and max or avg",
            )
        if self.layers not in ("even", "pyramid"):
            raise EdgeError(f"--snapkv-layers {self.layers}", fix="give even or pyramid")
        if self.purpose not in ("question", "reuse"):
            raise EdgeError(f"--snapkv-for {self.purpose}", fix="give question or reuse")
        if self.chunk is not None and self.chunk < 2 * self.window:
            raise EdgeError(
                f"--snapkv-prefill {self.chunk}: each piece of a prompt ends with a window of {self.window}",
                fix=f"give {2 * self.window} tokens or more",
            )

    @property
    def near(self) -> int:
        """Rows that a vote is pooled over. A repetition looks at each row itself: pooling costs answers."""
        if self.kernel is not None:
            return self.kernel
        return 1 if self.purpose == "reuse" else 7

    @property
    def note(self) -> str:
        """What a later question of a chat sees."""
        if self.purpose == "reuse":
            return (
                f"KVzip keeps {self.capacity} rows by what repeating the text needs: a second question "
                "sees what the first saw"
            )
        return (
            f"SnapKV keeps {self.capacity} rows by what each question looks at: a second one sees what was "
            "kept for the first; --snapkv-for reuse keeps for any"
        )

    def refuse_drafts(self) -> None:
        """A cut copy of a cache drafts, and the whole cache verifies: what was meant for one that is cut
        itself would be ignored.
        """
        if self.chunk is not None:
            raise EdgeError("the whole cache verifies drafts", fix="leave out --snapkv-prefill")
        if self.purpose == "reuse":
            raise EdgeError("a draft is for the answer at hand", fix="leave out --snapkv-for reuse")


def choose(votes: Sequence[F32], spec: DecoderSpec, options: SnapKV) -> list[I64]:
    """votes of each layer [H or G, S] -> the rows that each layer keeps: L of [G, C], rising."""
    sizes = budgets([part.shape[1] for part in votes], options)
    return [
        select(part, layer.kv_heads, options, capacity=size)
        for part, layer, size in zip(votes, spec.layers, sizes, strict=True)
    ]


def budgets(rows: Sequence[int], options: SnapKV) -> list[int]:
    """How many of its rows each layer keeps: all together as many as even ones would."""
    sizes = [options.capacity] * len(rows)
    if options.layers == "pyramid":
        window = options.window
        mean, most = options.capacity - window, rows[0] - window
        before = pyramid(len(rows), mean, least=options.sinks, most=most)
        sizes = [window + count for count in before]
    return [min(size, count) for size, count in zip(sizes, rows, strict=True)]


def select(votes: F32, kv_heads: int, options: SnapKV, *, capacity: int | None = None) -> I64:
    """votes [H, S], summed over the window's rows -> the rows that each kv head keeps: [G, C], rising.

    The window's own rows, the last ones, are always among them, and so are the sinks, the first.
    """
    heads, total = votes.shape
    before = total - options.window
    count = (capacity or options.capacity) - options.window
    pooled = _pooled(votes[:, :before], options)  # [H, before]
    shared = pooled.reshape(kv_heads, heads // kv_heads, before).mean(axis=1)  # [G, before]
    shared[:, : options.sinks] = np.inf
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
    half = options.near // 2
    padded = np.pad(votes, ((0, 0), (half, half)))
    near = np.lib.stride_tricks.sliding_window_view(padded, options.near, axis=1)
    return near.max(axis=2) if options.pool == "max" else near.mean(axis=2)


class CompactingDecoder:
    """`edge.protocols.Decoder` whose cache is compacted after every prompt that does not fit it.

    A later prompt of the same sequence is read over what the earlier ones kept. What an answer adds
    stays until the next prompt; a rewind into what was forgotten begins anew.
    """

    def __init__(self, inner: Evictable, options: SnapKV) -> None:
        refuse_cut(inner.spec)
        self.inner = inner
        self.options = options
        self.spec = inner.spec
        self.capacity = inner.capacity
        self.compacted = 0  # tokens that were read when rows were last forgotten
        self._tokens: list[int] = []  # all that was read
        self._worth: list[F32] = []  # of the rows that were kept, for any question: L of [G, C]

    @property
    def length(self) -> int:
        return self.inner.length

    @property
    def rows(self) -> tuple[int, ...]:
        return self.inner.rows

    def prefill(self, tokens: Sequence[int]) -> F32:
        if self._cuts(len(tokens)):
            self._prepare(len(tokens))
        for piece in self._pieces(tokens):
            logits = self._read(piece)
        return logits

    def step(self, token: int) -> F32:
        self._note([token])
        return self.inner.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        self._note(tokens)
        return self.inner.score(tokens)

    def rewind(self, length: int) -> None:
        whole = length >= self.compacted
        self.inner.rewind(length if whole else 0)
        if not whole or length == 0:
            self.compacted, self._worth = 0, []

    def _note(self, tokens: Sequence[int]) -> None:
        self._tokens[self.length :] = tokens

    def _cuts(self, count: int) -> bool:
        """Whether so many more tokens make too many rows, and are enough to vote."""
        most = len(self.rows) * (self.options.capacity - count)
        return sum(self.rows) > most and count >= self.options.window

    def _pieces(self, tokens: Sequence[int]) -> Iterator[Sequence[int]]:
        """Alike in length, so that the last, too, holds a window."""
        count = -(-len(tokens) // (self.options.chunk or len(tokens)))
        ends = [len(tokens) * n // count for n in range(count + 1)]
        return (tokens[start:end] for start, end in pairwise(ends))

    def _read(self, tokens: Sequence[int]) -> F32:
        """Append tokens, then forget rows: never before the tokens have attended to them."""
        window = self.options.window
        self._note(tokens)
        if not self._cuts(len(tokens)):
            return self.inner.prefill(tokens)
        if self.options.purpose == "reuse":
            logits = self.inner.prefill(tokens).copy()
            votes = self._worths()
        else:
            if len(tokens) > window:
                self.inner.prefill(tokens[:-window])
            logits, votes = self.inner.observe(tokens[-window:])
        rows = choose(votes, self.spec, self.options)
        self.inner.keep(rows)
        self.compacted = self.length
        if self.options.purpose == "reuse":
            pairs = zip(votes, rows, strict=True)
            self._worth = [np.take_along_axis(part, kept, axis=1) for part, kept in pairs]
        return logits

    def _worths(self) -> list[F32]:
        """Of every row, for any question: L of [G, S]. What was kept before keeps its worth."""
        worths = repeated(self.inner, self._tokens, self.compacted)
        for new, old in zip(worths, self._worth, strict=False):  # there are none the first time
            known = new[:, : old.shape[1]]
            np.maximum(known, old, out=known)
        return worths

    def _prepare(self, count: int) -> None:
        """Refuse a repetition that does not fit; rotate by what serves the whole prompt."""
        total = self.length + count
        if self.options.purpose == "reuse":
            total += ROOM
            if total > self.capacity:
                raise EdgeError(
                    f"{total - ROOM} tokens and {ROOM} that repeat a piece of them do not fit the context "
                    f"of {self.capacity}",
                    fix="shorten the prompt, or give --snapkv-for question",
                )
        if isinstance(self.inner, SwitchingEvictable):
            self.inner.expect(total)


def rows_of(decoder: Decoder) -> tuple[int, ...]:
    """Rows that each layer's cache holds."""
    if isinstance(decoder, CompactingDecoder):
        return decoder.rows
    return (decoder.length,) * len(decoder.spec.layers)


def refuse_window(count: int, most: int, target: str) -> None:
    """A window that votes is read in one call."""
    if count > most:
        raise EdgeError(
            f"a window of {count} tokens; {target} observes at most {most}",
            fix=f"give a window of {most} or fewer",
        )


def refuse_cut(spec: DecoderSpec) -> None:
    """A window counts rows, and after eviction rows are no positions."""
    if any(layer.window is not None or layer.sparse is not None for layer in spec.layers):
        raise Unsupported(
            "SnapKV needs attention that sees every row; this model's has a window or is block-sparse",
            fix="run it without --snapkv",
        )
