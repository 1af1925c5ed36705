"""A decoder whose cache may be compacted: `edge.protocols.Evictable` over llama.cpp.

A sequence's state is taken out of one context, cut row by row for each head, and put into another, as
small as what is kept; positions go on from the true one. The context in which a window votes has the
callback that shows queries, those in which prompts are read and tokens decoded have none. All layers
share one table of cells: each keeps as many rows. H query heads, G kv heads, S rows, C kept rows.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from edge.contracts import Opening
from edge.decode.snapkv import refuse_window, vote
from edge.errors import Unsupported
from edge.typing import F32, I64, U8, Fed
from edge_runtimes.gguf.decoder import ANSWER, GgufDecoder
from edge_runtimes.gguf.library import BATCH, DRAFTS, Context
from edge_runtimes.gguf.queries import Queries
from edge_runtimes.gguf.state import State


class FlexibleGgufDecoder(GgufDecoder):
    """As `GgufDecoder`, never exact."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening, outputs=DRAFTS + 1)
        self._cut = 0  # tokens that were read when rows were last forgotten
        self._observing = False
        self._prove()

    @property
    def rows(self) -> tuple[int, ...]:
        return (self._rows,) * len(self.spec.layers)

    def observe(self, tokens: Fed) -> tuple[F32, list[F32]]:
        refuse_window(len(tokens), BATCH, "gguf")
        self.reserve(self._rows + len(tokens))
        queries = Queries(self.spec)
        self._move(queries)
        logits = super()._run(tokens, outputs=1)[0].copy()
        keys = State.parse(self._context.state(), self.spec).keys
        votes = [
            vote(q, k.transpose(1, 0, 2).astype(np.float32), layer.scale)
            for q, k, layer in zip(queries.take(), keys, self.spec.layers, strict=True)
        ]
        return logits, votes

    observe_rows = observe

    def keep(self, rows: Sequence[I64]) -> None:
        count, state = _count(rows), self._kept(rows)
        self._context.close()
        self._context, self._observing = self._small(count, state), False
        self._rows, self._cut = count, self._length

    def fork(self, rows: Sequence[I64]) -> "FlexibleGgufDecoder":
        """Over the same weights."""
        if self._observing:
            self._move()
        count = _count(rows)
        context = self._small(count, self._kept(rows))
        other = copy(self)
        other._context, other._model = context, self._model.hold()
        other._table = None  # which each closes itself
        other._logits = np.zeros_like(self._logits)
        other._rows, other._cut = count, self._length
        return other

    def rewind(self, length: int) -> None:
        """Below what was forgotten nothing is left: the sequence begins anew."""
        super().rewind(length if length >= self._cut else 0)
        if self._length == 0:
            self._rows = self._cut = 0

    def _run(self, fed: Fed, *, outputs: int) -> F32:
        if self._observing:
            self._move()
        return super()._run(fed, outputs=outputs)

    def _move(self, queries: Queries | None = None) -> None:
        """Into a context that shows queries, or back into one that does not; the old one goes first, so
        that there are never two caches and their state.
        """
        old, state = self._context, self._context.state()
        old.close()
        watch = None if queries is None else queries.watch
        self._context = self._open(old.rows, outputs=old.outputs, watch=watch)
        if self._rows:
            self._context.restore(state)
        self._observing = queries is not None

    def _kept(self, rows: Sequence[I64]) -> U8:
        return State.parse(self._context.state(), self.spec).kept(rows).pack()

    def _small(self, count: int, state: U8) -> Context:
        """A context of so many rows, with room for an answer."""
        rows = min(count + ANSWER, self.capacity)
        context = self._open(rows, outputs=self._context.outputs)
        context.restore(state)
        return context


def _count(rows: Sequence[I64]) -> int:
    """How many rows each layer keeps."""
    counts = sorted({places.shape[1] for places in rows})
    if len(counts) > 1:
        raise Unsupported(
            f"llama.cpp has one table of cells for all layers: they cannot keep {counts[0]} to "
            f"{counts[-1]} rows",
            fix="keep as many in each layer, or use an artifact of onnx",
        )
    return counts[0]
