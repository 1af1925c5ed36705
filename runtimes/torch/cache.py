"""Keys and values of one sequence, in buffers that are allocated ahead and grow by doubling.

G kv heads, S rows, T new ones, C kept ones, W head width.
"""

from collections.abc import Sequence
from copy import copy

import torch

from edge.spec import DecoderSpec
from edge.typing import I64

_FIRST_ROWS = 512
ANSWER = 256  # rows kept free after a prompt
Buffers = tuple[torch.Tensor, torch.Tensor]  # keys and values of a layer, [1, G, S, W]


class StaticCache:
    """`edge_runtimes.torch.ops.Cache`; the decoder moves `length` when every layer has appended.

    A layer that forgot rows holds fewer than `length`, which stays the position of the next token.
    """

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.length = 0
        self._spec, self._dtype, self._device = spec, dtype, device
        self._forgotten = [0] * len(spec.layers)
        first = min(_FIRST_ROWS, spec.context)
        self._buffers = [self._made(index, first) for index in range(len(spec.layers))]

    @property
    def rows(self) -> tuple[int, ...]:
        """How many each layer holds."""
        return tuple(self.length - gone for gone in self._forgotten)

    def append(
        self, index: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.length - self._forgotten[index]
        end = start + k.shape[2]
        keys, values = self._buffers[index]
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        return keys[:, :, :end], values[:, :, :end]

    def reserve(self, length: int) -> None:
        """Make room for this many tokens at once, up to the context."""
        for index, gone in enumerate(self._forgotten):  # one by one: never two whole caches
            have = self._buffers[index][0].shape[2]
            if length - gone > have:
                grown = self._made(index, min(max(length - gone, 2 * have), self._spec.context))
                for new, old in zip(grown, self._buffers[index], strict=True):
                    new[:, :, :have] = old
                self._buffers[index] = grown

    def rewind(self, length: int) -> None:
        gone = self.length - length
        assert length == 0 or 0 <= gone <= min(self.rows), f"rewind to {length} of {self.length}"
        if length == 0:
            self._forgotten = [0] * len(self._forgotten)
        self.length = length

    def kept(self, rows: Sequence[I64]) -> "StaticCache":
        """Another of the same sequence, which holds only these rows of each layer: [G, C]."""
        other = copy(self)
        other._forgotten = [self.length - places.shape[1] for places in rows]
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
