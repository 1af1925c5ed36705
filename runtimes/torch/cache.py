"""Keys and values of one sequence, in buffers that are allocated ahead and grow by doubling.

G kv heads, S rows, T new ones, C kept ones, W head width.
"""

from collections.abc import Sequence

import torch

from edge.decode.rows import CountedRows
from edge.spec import DecoderSpec
from edge.typing import I64

_FIRST_ROWS = 512
ANSWER = 256  # rows kept free after a prompt
Buffers = tuple[torch.Tensor, torch.Tensor]  # keys and values of a layer, [1, G, S, W]


class StaticCache(CountedRows):
    """`edge_runtimes.torch.ops.Cache`; the decoder moves `length` when every layer has appended."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(len(spec.layers))
        self._spec, self._dtype, self._device = spec, dtype, device
        first = min(_FIRST_ROWS, spec.context)
        self._buffers = [self._made(index, first) for index in range(len(spec.layers))]

    def append(
        self, index: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.length - self.forgotten[index]
        end = start + k.shape[2]
        keys, values = self._buffers[index]
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        return keys[:, :, :end], values[:, :, :end]

    def reserve(self, length: int) -> None:
        """Make room for this many tokens at once, up to the context."""
        for index, gone in enumerate(self.forgotten):  # one by one: never two whole caches
            have = self._buffers[index][0].shape[2]
            if length - gone > have:
                grown = self._made(index, min(max(length - gone, 2 * have), self._spec.context))
                for new, old in zip(grown, self._buffers[index], strict=True):
                    new[:, :, :have] = old
                self._buffers[index] = grown

    def kept(self, rows: Sequence[I64]) -> "StaticCache":
        """Another of the same sequence, which holds only these rows of each layer: [G, C]."""
        other = self._counting(rows)
        other._buffers = [self._gathered(index, places) for index, places in enumerate(rows)]
        return other

    def _gathered(self, index: int, rows: I64) -> Buffers:
        """Copies, with room for an answer."""
        heads, count = rows.shape
        made = self._made(index, min(count + ANSWER, self._spec.context))
        at = torch.arange(heads, device=self._device)[:, None], torch.from_numpy(rows)
        for new, old in zip(made, self._buffers[index], strict=True):
            new[0, :, :count] = old[0][at]
        return made

    def _made(self, index: int, rows: int) -> Buffers:
        layer = self._spec.layers[index]
        shape = (1, layer.kv_heads, rows, layer.head_width)
        keys, values = (
            torch.zeros(shape, dtype=self._dtype, device=self._device) for _ in range(2)
        )
        return keys, values
