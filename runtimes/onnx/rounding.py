"""A cache that goes over to int8: `edge.protocols.Roundable`.

The kernels on int8 rows read less for one token, and compute more for many: four times the instructions
for 256 tokens. So prompts are read by the float32 graph, whose session then makes room for that of the
int8 one: their packed weights are never in memory together. A new sequence goes the same way again.
"""

from dataclasses import replace

import numpy as np

from edge.contracts import Opening
from edge.decode.rounding import rounded, steps
from edge.system.memory import give_back
from edge.typing import F32
from edge_runtimes.onnx.call import Call, Entry
from edge_runtimes.onnx.decoder import FIRST_ROWS, buffers
from edge_runtimes.onnx.flexible import FlexibleOnnxDecoder
from edge_runtimes.onnx.spliced import SplicedOnnxDecoder


class RoundingOnnxDecoder(FlexibleOnnxDecoder):
    """As `FlexibleOnnxDecoder`; one of its two graphs is open at a time."""

    over_int8 = "flexible-int8.onnx"

    def __init__(self, opening: Opening) -> None:
        self._scales: dict[str, F32] = {}
        super().__init__(opening)
        self._plain = self._step
        self._over_int8 = replace(self._step, file=opening.part + self.over_int8, rounded=True)

    @property
    def rounded(self) -> bool:
        return bool(self._scales)

    def round(self) -> None:
        width = self.spec.rope.width
        for name, old in self._cache.items():  # one by one: never two whole caches
            index, part = name.split(".")
            count = self._rows[int(index)]
            rows = old[0, :, :count]
            scales = steps(rows, width if part == "key" else 0)
            self._cache[name] = new = np.zeros(old.shape, np.int8)
            new[0, :, :count] = rounded(rows, scales)
            self._scales[name] = scales[None]
        self._change(self._over_int8)
        self._call(self._step)  # now: the wait belongs to the prompt

    def rewind(self, length: int) -> None:
        super().rewind(length)
        if length == 0 and self.rounded:
            self._scales = {}
            self._change(self._plain)
            self._use(buffers(self.spec, min(FIRST_ROWS, self.capacity)))

    def _change(self, entry: Entry) -> None:
        """Another graph from the next call on; the open one is closed first."""
        self._calls, self._observing = {}, None
        self._step = self._score = entry
        give_back()

    def _bind(self, call: Call) -> None:
        super()._bind(call)
        call.bind_scales(self._scales)

    def _keys(self, index: int) -> F32:
        keys = super()._keys(index)
        return keys * self._scales[f"{index}.key"][0] if self.rounded else keys


class SplicedRoundingOnnxDecoder(RoundingOnnxDecoder, SplicedOnnxDecoder):
    """`edge.protocols.SplicedRoundable`, of an artifact that was made to take rows."""

    over_int8 = "rows-int8.onnx"
