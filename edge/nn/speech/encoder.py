"""FastSpeech's encoder layers (arXiv 1905.09263): attention, and a feed-forward that is a convolution. Norms are
plain, or scaled and shifted by a voice (style-adaptive, arXiv 2106.03153).

B batch, T rows, D width.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.net import Size
from edge.nn.composed import Composed
from edge.nn.speech.blocks import attend, attention_shapes, check, check_heads, columns
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.typing import F32, Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSpec:
    """`positions`: each row has its own (arXiv 1706.03762); or all have the first one's, as the public code of
    FlashSpeech computes them of a batch of one.
    """

    width: int
    layers: int
    heads: int
    ffn_width: int
    kernel: int
    positions: Literal["own", "first"] = "own"

    def __post_init__(self) -> None:
        check("an encoder", {"width": self.width, "ffn_width": self.ffn_width}, layers=self.layers)
        check("an encoder", {"kernel": self.kernel if self.kernel % 2 else 0})
        check_heads("an encoder", self.width, self.heads)
        check_heads("the positions of an encoder", self.width, 2)

    def shapes(self, *, styled: bool) -> dict[str, Shape]:
        width, out = self.width, dict[str, Shape]()
        for i in range(self.layers):
            at = f"layers.{i}."
            out |= norm_shapes(f"{at}attn.norm", width, styled=styled)
            out |= attention_shapes(f"{at}attn.", width)
            out |= norm_shapes(f"{at}mlp.norm", width, styled=styled)
            out |= matrix(f"{at}mlp.up", self.ffn_width, self.kernel * width)
            out |= matrix(f"{at}mlp.down", width, self.ffn_width)
        return out | norm_shapes("norm", width, styled=styled)


def norm_shapes(name: str, width: int, *, styled: bool) -> dict[str, Shape]:
    return matrix(name, 2 * width, width) if styled else norm(name, width)


def encoder(
    ops: Composed[Array],
    spec: EncoderSpec,
    size: Size,
    x: Array,
    mask: Array,
    style: Array | None = None,
) -> Array:
    """x [B, T, D], mask [B, T], style [B, 1, D] -> [B, T, D], zero in rows that do not count. `size`: what T is."""
    keep = columns(ops, mask)
    x = ops.add(x, _positions(ops, spec, size, x))
    for i in range(spec.layers):
        at = f"layers.{i}."
        h = _normed(ops, f"{at}attn.norm", spec.width, x, style)
        x = ops.add(x, attend(ops, f"{at}attn.", h, h, heads=spec.heads, keep=mask))
        h = ops.mul(_normed(ops, f"{at}mlp.norm", spec.width, x, style), keep)
        side = spec.kernel // 2
        h = ops.conv_rows(h, f"{at}mlp.up", kernel=spec.kernel, pad=(side, side))
        x = ops.add(x, ops.one(ops.act(h, "relu"), f"{at}mlp.down"))
    return ops.mul(_normed(ops, "norm", spec.width, x, style), keep)


def _normed(ops: Composed[Array], name: str, width: int, x: Array, style: Array | None) -> Array:
    if style is None:
        return ops.norm(x, name, LAYER)
    scale, shift = ops.split(ops.one(style, name), width, width)  # [B, 1, D] each
    return ops.add(ops.mul(ops.norm(x, None, LAYER), scale), shift)


def _positions(ops: Composed[Array], spec: EncoderSpec, size: Size, x: Array) -> Array:
    """Sines and cosines in turn: [T, D], or [D]. From a table, since in half precision a product with a frequency is
    half a radian off at row 1,000.
    """
    width = spec.width
    if spec.positions == "first":
        first = np.tile(np.array([0, 1], np.float32), width // 2)
        return ops.const(f"first.{width}", (width,), lambda: first)
    key = f"positions.{size.most}.{width}"
    return ops.as_many(ops.const(key, (size.most, width), lambda: positions(size.most, width)), x)


def positions(rows: int, width: int) -> F32:
    """[rows, width] (arXiv 1706.03762)."""
    turned = np.outer(np.arange(rows), 1e4 ** (-np.arange(0, width, 2) / width))
    return (
        np.stack([np.sin(turned), np.cos(turned)], axis=-1).reshape(rows, width).astype(np.float32)
    )
