"""ggml's own formats (GGUF), with ggml's own rounding, so that files equal those of its tools bit
for bit: groups of 32, scales in fp16, codes made with the scale before it is rounded.

N rows, K columns, J groups.
"""

import numpy as np

from edge.quant.rtn import in_groups
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32

FORMATS = {
    "q8_0": Scheme(8, 32, "middle", "fp16", "ggml"),
    "q5_0": Scheme(5, 32, "middle", "fp16", "ggml"),
    "q5_1": Scheme(5, 32, "minimum", "fp16", "ggml"),
    "q4_0": Scheme(4, 32, "middle", "fp16", "ggml"),
    "q4_1": Scheme(4, 32, "minimum", "fp16", "ggml"),
}


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # NaN shows in the scales
def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes and scales as ggml's reference makes them."""
    grouped = in_groups(weights, scheme)
    if scheme.zero == "minimum":
        return _with_minimum(grouped, scheme, weights.shape[1])
    made = _q8(grouped) if scheme.bits == 8 else _middle(grouped, scheme.bits)
    codes = made[0].astype(np.uint8).reshape(len(weights), -1)
    return QTensor(codes, rounded(made[1], scheme.number), scheme, weights.shape[1])


def _middle(grouped: F32, bits: int) -> tuple[F32, F32]:
    """Q4_0 and Q5_0: the first value of largest magnitude becomes the lowest code."""
    half = 1 << (bits - 1)
    at = np.abs(grouped).argmax(axis=2, keepdims=True)
    scales = np.take_along_axis(grouped, at, axis=2) / np.float32(-half)  # [N, J, 1]
    # In double precision, as a fused multiply-add would round.
    steps = grouped.astype(np.float64) * _inverse(scales).astype(np.float64) + (half + 0.5)
    codes = np.clip(np.trunc(steps.astype(np.float32)), 0, 2 * half - 1)
    return codes, scales[:, :, 0]


def _q8(grouped: F32) -> tuple[F32, F32]:
    """Q8_0: symmetric about zero; a tie is rounded away from it. Our codes are 128 higher."""
    scales = np.abs(grouped).max(axis=2, keepdims=True) / np.float32(127)
    steps = grouped * _inverse(scales)
    whole = np.trunc(np.abs(steps))
    away = whole + np.trunc(2 * (np.abs(steps) - whole))
    return np.sign(steps) * away + 128, scales[:, :, 0]


def _with_minimum(grouped: F32, scheme: Scheme, columns: int) -> QTensor:
    """Q4_1 and Q5_1."""
    most = (1 << scheme.bits) - 1
    low = grouped.min(axis=2, keepdims=True)
    scales = (grouped.max(axis=2, keepdims=True) - low) / np.float32(most)
    steps = np.trunc((grouped - low) * _inverse(scales) + np.float32(0.5))
    codes = np.clip(steps, 0, most).astype(np.uint8).reshape(len(grouped), -1)
    scale, minimum = (rounded(part[:, :, 0], scheme.number) for part in (scales, low))
    return QTensor(codes, scale, scheme, columns, minimum)


def _inverse(scales: F32) -> F32:
    return np.where(scales == 0, np.float32(0), np.float32(1) / scales)
