"""What neural codecs share: a waveform as frames of samples, masks at the rate of each layer, activations.

B batch, F frames, T rows of a layer, C channels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.speech.blocks import BATCH
from edge.ops import Array

# Ten and more seconds of any codec's frames: longer sounds are encoded and decoded in pieces.
FRAMES = Size(name="frames", most=1024, steps=(16, 32, 64, 128, 256, 512, 1024))
MOST_HOP = 1 << 13  # samples of a frame


MASK = Port(name="frame_mask", shape=("batch", "frames"), values="mask")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecSide:
    """What a codec's encoder and decoder are to a caller. `ratios`: by how much each block makes its input shorter, or
    longer.
    """

    side: Literal["encoder", "decoder"]
    latent: int
    ratios: tuple[int, ...]

    @property
    def hop(self) -> int:
        return hop_of(self.ratios)

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self._sound if self.side == "encoder" else self._latents, MASK

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (self._latents if self.side == "encoder" else self._sound,)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    @property
    def _sound(self) -> Port:
        return Port(name="audio", shape=("batch", "frames", self.hop), values="signal")

    @property
    def _latents(self) -> Port:
        return Port(name="latent", shape=("batch", "frames", self.latent))


def hop_of(ratios: tuple[int, ...]) -> int:
    """Samples of a frame."""
    hop = math.prod(ratios)
    if not ratios or len(ratios) > 8 or min(ratios) < 2 or hop > MOST_HOP:
        raise Damaged(
            f"a codec with the ratios {list(ratios)}",
            fix=f"give one to eight, of 2 or more, whose product is {MOST_HOP} at most",
        )
    return hop


def repeated(ops: Composed[Array], mask: Array, times: int) -> Array:
    """A mask [B, T, 1] for a layer of so many rows each: [B, T times, 1]."""
    if times == 1:
        return mask
    ones = ops.const(f"ones.{times}", (times,), lambda: np.ones(times, np.float32))
    return ops.reshape(ops.mul(mask, ones), 0, -1, 1)


def snake(ops: Composed[Array], x: Array, name: str) -> Array:
    """x + sin(a x)^2 / a, a learned frequency a channel (arXiv 2006.08195)."""
    alpha = ops.param(name)
    wave = ops.act(ops.mul(x, alpha), "sin")
    return ops.add(x, ops.pair("div", ops.mul(wave, wave), ops.pair("add", alpha, 1e-9)))


def elu(ops: Composed[Array], x: Array) -> Array:
    """x above zero, exp(x) - 1 below (arXiv 1511.07289)."""
    below = ops.act(ops.pair("min", x, 0.0), "exp")
    return ops.pair("add", ops.add(ops.act(x, "relu"), below), -1.0)
