"""Products as fast kernels compute them, which round what goes in: so the oracle can round alike.

T rows, K columns, J groups of columns.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edge.contracts import Rounding
from edge.quant.rotation import back
from edge.quant.rotation import rotated as rotated_columns
from edge.quant.tensor import QTensor, rounded
from edge.typing import F32, I64

BLOCK = 32  # columns of ggml's blocks


@dataclass(frozen=True, slots=True)
class How:
    """What inputs are rounded to, in groups of how many columns or by row (0); integers to so many `bits`; and whether
    they are rotated before.
    """

    kind: Rounding
    group: int
    rotated: bool = False
    bits: int = 8


@dataclass(frozen=True, slots=True)
class Products:
    """`blocks`: a weight's rows as they are stored. `how`: what inputs are rounded to for a weight, if to anything."""

    weight: Callable[[str, I64 | None], F32]
    blocks: Callable[[str], Iterable[F32 | QTensor]]
    how: Callable[[str], How | None]

    def __call__(self, x: F32, name: str) -> F32:
        """x [T, K], or [batch, T, K] where each of a batch is rounded by itself -> [T or batch T, N]."""
        how = self.how(name)
        if how is not None and how.kind == "u8" and x.ndim == 3:
            x = np.stack([_unsigned(part) for part in x])
            how = None
        x = x.reshape(-1, x.shape[-1])
        if how is None:
            return x @ self.weight(name, None).T
        inputs = round_inputs(rotated_columns(x) if how.rotated else x, how)
        lost = lost_sums(x, inputs) if how.kind == "q8_1" else None
        inputs = back(inputs) if how.rotated else inputs
        return np.concatenate(
            [_product(inputs, lost, block) for block in self.blocks(name)], axis=1
        )


def _product(inputs: F32, lost: F32 | None, weights: F32 | QTensor) -> F32:
    """[T, K] times rows of a weight, [N, K] -> [T, N]; `lost`: what a sum of each block adds."""
    if not isinstance(weights, QTensor):
        return inputs @ weights.T
    out = inputs @ weights.dequantize().T
    if lost is None or weights.zeros is None:
        return out
    return out + lost @ weights.zeros.astype(np.float32).T


def round_inputs(x: F32, how: How) -> F32:
    """x [T, K] as a kernel sees it: floats of a type, or integers with one scale a group."""
    kind = how.kind
    if kind == "fp16" or kind == "bf16":
        return rounded(x, kind)
    if kind == "u8":
        return _unsigned(x)
    if kind == "int8":
        steps, scales = _integers(x, how.group or x.shape[1], how.bits)
    else:
        steps, scales = _integers(x, BLOCK)
        scales = rounded(scales, "fp16")
    return (steps * scales).reshape(len(x), -1)[:, : x.shape[1]]


def _unsigned(x: F32) -> F32:
    """As ONNX's DynamicQuantizeLinear: 256 steps from the least to the most of all of x, zero among them."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((np.float32(high) - np.float32(low)) / np.float32(255))
    if scale == 0:
        return x
    zero = np.rint(np.clip(-np.float32(low) / scale, 0, 255))
    codes = np.clip(np.rint(x / scale) + zero, 0, 255)
    out: F32 = (codes - zero).astype(np.float32) * scale
    return out


def lost_sums(x: F32, inputs: F32) -> F32:
    """ggml multiplies minimums by the sum of each block, rounded for itself: that, less the sum of the
    rounded inputs, [T, J].
    """
    steps, scales = _integers(x, BLOCK)
    sums = rounded((scales * steps.sum(axis=2, keepdims=True))[:, :, 0], "fp16")
    return sums - inputs.reshape(len(x), -1, BLOCK).sum(axis=2)


def _integers(x: F32, group: int, bits: int = 8) -> tuple[F32, F32]:
    """Whole numbers, of 8 bits at most 127 in size, [T, J, group] and their scales [T, J, 1]."""
    most = np.float32((1 << bits - 1) - 1)
    grouped = np.pad(x, ((0, 0), (0, -x.shape[1] % group))).reshape(len(x), -1, group)
    largest = np.abs(grouped).max(axis=2, keepdims=True)
    # Times the inverse, not divided by the scale: a tie must round as it does in the kernel.
    inverse = np.divide(most, largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(grouped * inverse), largest / most
