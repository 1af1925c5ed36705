"""A decoder of many uses over one session, with one copy of the weights: `edge.protocols.Evictable`.

Its graph gives logits of as many rows as asked for, so that drafts are verified where they are
decoded, and each layer's last queries; keys lie in the bound cache. A second binding of the session
asks for the queries: steps pay nothing for them. T tokens, H query heads, G kv heads, S rows, W head
width.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from edge.contracts import Opening
from edge.decode.snapkv import refuse_window, vote
from edge.nn.rope import rotate, tables
from edge.typing import F32, I64, AnyArray
from edge_runtimes.onnx.call import Call, Entry, queries_width
from edge_runtimes.onnx.decoder import ANSWER, OnnxDecoder, buffer

FLEXIBLE = "flexible.onnx"
WINDOW = 64  # the most rows whose queries the graph gives out


class FlexibleOnnxDecoder(OnnxDecoder):
    """As `OnnxDecoder`, never exact."""

    def __init__(self, opening: Opening, *, step: Entry | None = None) -> None:
        spec = opening.spec
        step = step or flexible(opening, FLEXIBLE)
        super().__init__(opening, step=step)
        self._score = step
        self._observing: Call | None = None
        self._tables = tables(spec.rope, spec.context)

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(self._rows.tolist())

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        return self._observe(tokens)

    def _observe(self, fed: Sequence[int] | F32) -> tuple[F32, list[F32]]:
        refuse_window(len(fed), WINDOW, "onnx")
        self.reserve(len(fed))
        seen = {
            index: np.empty((1, len(fed), queries_width(self.spec, index)), np.float32)
            for index in range(len(self.spec.layers))
        }
        call, start = self._observer(), self._length
        self._bind(call)
        call.bind_queries(seen)
        logits = call.run(fed, start=start, past=self._rows, rows=1)[-1]
        self._more(len(fed))
        return logits, [self._votes(index, queries[0], start) for index, queries in seen.items()]

    def keep(self, rows: Sequence[I64]) -> None:
        cache = self._kept(rows)
        self._rows = counts(rows)
        self._use(cache)

    def fork(self, rows: Sequence[I64]) -> "FlexibleOnnxDecoder":
        """Over the same session."""
        other = copy(self)
        other._calls = {file: call.again() for file, call in self._calls.items()}
        other._observing = None
        other._rows = counts(rows)
        other._use(self._kept(rows))
        return other

    def _observer(self) -> Call:
        if self._observing is None:
            self._observing = self._call(self._step).again()
        return self._observing

    def _kept(self, rows: Sequence[I64]) -> dict[str, AnyArray]:
        """A cache of these rows, with room for an answer."""
        cache = {}
        for name, old in self._cache.items():
            kept = rows[int(name.split(".")[0])]  # [G, C]
            count = kept.shape[1]
            cache[name] = buffer(old, min(count + ANSWER, self.capacity))
            for head, places in enumerate(kept):
                cache[name][0, head, :count] = old[0, head, places]
        return cache

    def _keys(self, index: int) -> F32:
        """Of the rows in use, [G, S, W]."""
        keys: F32 = self._cache[f"{index}.key"][0, :, : self._rows[index]]
        return keys

    def _votes(self, index: int, queries: F32, start: int) -> F32:
        layer = self.spec.layers[index]
        heads = queries.reshape(len(queries), -1, layer.head_width)[:, : layer.heads]
        if queries.shape[1] > layer.heads * layer.head_width:  # packed: attention rotates inside
            heads = rotate(heads, self._tables, start)
        return vote(heads, self._keys(index), layer.scale)


def flexible(opening: Opening, file: str) -> Entry:
    """A graph of this kind; it gives out queries where attention sees every row."""
    layers = opening.spec.layers
    cut = any(layer.window is not None or layer.sparse is not None for layer in layers)
    return Entry(file=opening.part + file, asked=True, queries=not cut, counted=True)


def counts(rows: Sequence[I64]) -> I64:
    """How many each layer keeps, [L]."""
    return np.array([kept.shape[1] for kept in rows])
