"""Early exits in numpy: `edge.decode.exits.Halves` over one cache, whose first layers run ahead."""

from collections.abc import Sequence

import numpy as np

from edge.nn.decoder import segment
from edge.ops import Ops
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray
from edge_runtimes.reference.decoder import ReferenceDecoder, Weights
from edge_runtimes.reference.ops import NumpyOps, Tables


class ExitReferenceDecoder(ReferenceDecoder):
    """Its halves meet after `exit_` layers, in streams of [1, D]."""

    def __init__(self, spec: DecoderSpec, weights: Weights, exit_: int) -> None:
        super().__init__(spec, weights)
        self._exit = exit_

    def draft(self, token: int, *, ahead: int) -> tuple[F32, F32]:
        stream = self.early(token, ahead=ahead)
        logits = self._segment(stream, 0, len(self.spec.layers), ends=True)
        return stream, logits[-1, : self.spec.draft_vocab]

    def early(self, token: int, *, ahead: int) -> F32:
        return self._segment(np.array([token]), self._length + ahead, 0, stop=self._exit)

    def late(self, left: Sequence[F32]) -> F32:
        logits = self._segment(np.concatenate(left), self._length, self._exit, ends=True)
        self._more(len(left))
        return logits

    def _segment(
        self, x: AnyArray, at: int, start: int, *, stop: int | None = None, ends: bool = False
    ) -> F32:
        """Layers from `start` on, over rows at positions from `at` on."""
        ops: Ops[AnyArray, Tables] = NumpyOps(self._weights, self._cache, at, False)
        end = len(self.spec.layers) if stop is None else stop
        return segment(ops, self.spec, x, start=start, stop=end, ends=ends)
