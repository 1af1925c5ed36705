"""Early exits in numpy: `edge.protocols.EarlyExit` over one cache, whose first layers run ahead."""

import numpy as np

from edge.nn.decoder import segment
from edge.ops import Ops
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray
from edge_runtimes.reference.decoder import ReferenceDecoder, Weights
from edge_runtimes.reference.ops import NumpyOps, Tables


class ExitReferenceDecoder(ReferenceDecoder):
    """Stops after `exit_` layers to draft."""

    def __init__(self, spec: DecoderSpec, weights: Weights, exit_: int) -> None:
        super().__init__(spec, weights)
        self._exit = exit_
        self._streams: list[F32] = []  # after the exit, of drafted tokens: [1, D] each

    def draft(self, token: int) -> F32:
        stream = self._early(token)
        row: F32 = self._segment(stream, 0, len(self.spec.layers), ends=True)[-1]
        if self.spec.draft_vocab is not None:
            row[self.spec.draft_vocab :] = -np.inf
        return row

    def finish(self, token: int) -> F32:
        self._early(token)
        streams = np.concatenate(self._streams)  # [T, D]
        logits = self._segment(streams, self._length, self._exit, ends=True)
        self._more(len(streams))
        self._streams = []
        return logits

    def rewind(self, length: int) -> None:
        self._streams = []
        super().rewind(length)

    def _early(self, token: int) -> F32:
        at = self._length + len(self._streams)
        stream = self._segment(np.array([token]), at, 0, stop=self._exit)
        self._streams.append(stream)
        return stream

    def _segment(
        self, x: AnyArray, at: int, start: int, *, stop: int | None = None, ends: bool = False
    ) -> F32:
        """Layers from `start` on, over rows at positions from `at` on."""
        ops: Ops[AnyArray, Tables] = NumpyOps(self._weights, self._cache, at, False)
        end = len(self.spec.layers) if stop is None else stop
        return segment(ops, self.spec, x, start=start, stop=end, ends=ends)
