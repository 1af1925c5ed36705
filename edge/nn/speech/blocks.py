"""What networks of speech share: sizes, masks, attention to others' rows, angles.

B batch, T rows, S keys, D width, H heads.
"""

import math
from collections.abc import Mapping

import numpy as np

from edge.errors import Damaged
from edge.net import Size
from edge.nn.composed import Composed
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import F32, Shape

BATCH = Size(name="batch", most=8)
PHONEMES = Size(name="phonemes", most=512, steps=(16, 32, 64, 128, 256, 512))
PROMPT = Size(name="prompt_frames", most=1024, steps=(128, 256, 512, 1024))
FRAMES = Size(name="frames", most=4096, steps=(128, 256, 512, 1024, 2048, 4096))
MOST = 1 << 20  # of any number
LAYERS = 256  # at most


def check(what: str, numbers: Mapping[str, int], *, layers: int = 1) -> None:
    """Refuses numbers that make no network, by name."""
    for name, number in numbers.items():
        if not 1 <= number <= MOST:
            raise Damaged(
                f"{name} of {what} is {number}", fix="give 1 to 2^20; correct config.json"
            )
    if not 1 <= layers <= LAYERS:
        raise Damaged(f"{what} has {layers} layers", fix=f"give 1 to {LAYERS}; correct config.json")


def check_heads(what: str, width: int, heads: int) -> None:
    if not heads or width % heads:
        raise Damaged(
            f"{heads} heads do not divide the width {width} of {what}", fix="correct config.json"
        )


def columns(ops: Composed[Array], mask: Array) -> Array:
    """A mask [B, T] as what rows are multiplied by: [B, T, 1]."""
    return ops.reshape(mask, 0, -1, 1)


def attention_shapes(at: str, width: int) -> dict[str, Shape]:
    out: dict[str, Shape] = {}
    for name in "qkvo":
        out |= matrix(f"{at}{name}", width, width)
    return out


def attend(
    ops: Composed[Array], at: str, x: Array, others: Array, *, heads: int, keep: Array | None = None
) -> Array:
    """Rows x [B, T, D] see others [B, S, D], of which those count that `keep` [B, S] says -> [B, T, D]."""
    q = ops.one(x, f"{at}q")
    k, v = ops.linear(others, f"{at}k", f"{at}v", biased=(f"{at}k", f"{at}v"))
    return ops.one(ops.attention(q, k, v, heads=heads, keep=keep), f"{at}o")


def angles(ops: Composed[Array], x: Array, width: int, *, ends: bool) -> tuple[Array, Array]:
    """Sines and cosines of x [..., 1] at `width` / 2 frequencies that fall from 1 towards 1 / 10,000; with
    its `ends` that is the last.
    """
    half = width // 2
    count = max(half - 1, 1) if ends else half

    def frequencies() -> F32:
        return np.exp(-math.log(10_000) * np.arange(half) / count).astype(np.float32)

    turned = ops.mul(x, ops.const(f"frequencies.{half}.{count}", (half,), frequencies))
    return ops.act(turned, "sin"), ops.act(turned, "cos")
