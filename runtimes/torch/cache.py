"""Keys and values of one sequence, in buffers that are allocated ahead and grow by doubling.

G kv heads, S rows, T new ones, W head width.
"""

import torch

from edge.spec import DecoderSpec

_FIRST_ROWS = 512


class StaticCache:
    """`runtimes.torch.ops.Cache`; the decoder moves `length` when every layer has appended."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.length = 0
        self._spec, self._dtype, self._device = spec, dtype, device
        self._buffers = self._made(min(_FIRST_ROWS, spec.context))

    def append(
        self, index: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.length + k.shape[2]
        keys, values = self._buffers[index]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def reserve(self, rows: int) -> None:
        """Make room for this many rows at once, up to the context."""
        have = self._buffers[0][0].shape[2]
        if rows <= have:
            return
        grown = self._made(min(max(rows, 2 * have), self._spec.context))
        for new, old in zip(grown, self._buffers, strict=True):
            for wide, narrow in zip(new, old, strict=True):
                wide[:, :, : self.length] = narrow[:, :, : self.length]
        self._buffers = grown

    def _made(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each layer keys and values, [1, G, S, W]."""
        out = []
        for layer in self._spec.layers:
            shape = (1, layer.kv_heads, rows, layer.head_width)
            keys, values = (
                torch.zeros(shape, dtype=self._dtype, device=self._device) for _ in range(2)
            )
            out.append((keys, values))
        return out
