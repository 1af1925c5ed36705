"""ggml's own formats (GGUF), with ggml's own rounding, so that files equal those of its tools bit
for bit: groups of 32, scales in fp16, codes made with the scale before it is rounded. Its other
formats, and recipes that mix them, are known here by name and size alone: its own library makes them.

N rows, K columns, J groups.
"""

from collections.abc import Mapping

import numpy as np

from edge.quant.bounds import by_steps
from edge.quant.methods import Method
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
# Name -> bits, columns of a block, its bytes.
_BLOCKS = {
    "q2_k": (2, 256, 84), "q3_k": (3, 256, 110), "q4_k": (4, 256, 144), "q5_k": (5, 256, 176),
    "q6_k": (6, 256, 210), "iq1_s": (1, 256, 50), "iq1_m": (1, 256, 56), "iq2_xxs": (2, 256, 66),
    "iq2_xs": (2, 256, 74), "iq2_s": (2, 256, 82), "iq3_xxs": (3, 256, 98), "iq3_s": (3, 256, 110),
    "iq4_nl": (4, 32, 18), "iq4_xs": (4, 256, 136), "tq1_0": (1, 256, 54), "tq2_0": (2, 256, 66),
    "mxfp4": (4, 32, 17), "nvfp4": (4, 64, 36), "q1_0": (1, 128, 18), "q2_0": (2, 64, 18),
}  # fmt: skip
BLOCKS: Mapping[str, Scheme] = {
    name: Scheme(bits, columns, "middle", "fp16", name, size)
    for name, (bits, columns, size) in _BLOCKS.items()
}
# Recipes of llama.cpp's quantizer -> the type that most weights get.
MIXTURES: Mapping[str, str] = {
    "q2_k": "q2_k", "q2_k_s": "q2_k", "q3_k_s": "q3_k", "q3_k_m": "q3_k", "q3_k_l": "q3_k",
    "q4_k_s": "q4_k", "q4_k_m": "q4_k", "q5_k_s": "q5_k", "q5_k_m": "q5_k", "q6_k": "q6_k",
    "iq1_s": "iq1_s", "iq1_m": "iq1_m", "iq2_xxs": "iq2_xxs", "iq2_xs": "iq2_xs",
    "iq2_s": "iq2_xs", "iq2_m": "iq2_s", "iq3_xxs": "iq3_xxs", "iq3_xs": "iq3_s",
    "iq3_s": "iq3_s", "iq3_m": "iq3_s", "iq4_nl": "iq4_nl", "iq4_xs": "iq4_xs",
}  # fmt: skip
# Types that llama.cpp makes in layers only with an importance matrix.
NEEDY = frozenset({"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"})


def kin(mixture: str, *, weighed: bool) -> list[Scheme]:
    """What weights of a mixture may be instead: types of K, in a mixture of i-types these, too, and those of small
    blocks; `weighed`: there is an importance matrix.
    """
    kinds = ("iq",) if MIXTURES[mixture].startswith("iq") else ()
    some = [name for name in BLOCKS if name.endswith("_k") or name.startswith(kinds)]
    some = [name for name in some if weighed or name not in NEEDY]
    return [*(BLOCKS[name] for name in some), *FORMATS.values()]


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


METHOD = Method(
    name="ggml",
    schemes=tuple(FORMATS.values()),
    quantize=quantize,
    bound=by_steps,
    names={**FORMATS, **BLOCKS},
)
