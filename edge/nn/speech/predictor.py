"""FlashSpeech's predictors of durations and of pitch (arXiv 2404.14700): convolutions, and every few of them a look
at the prompt.

B batch, N rows (phonemes, or frames), P phonemes, R prompt frames, D width.
"""

import math
from dataclasses import dataclass

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import (
    BATCH,
    FRAMES,
    PHONEMES,
    PROMPT,
    attend,
    attention_shapes,
    check,
    check_heads,
    columns,
)
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorSpec:
    """`attention_every`: of so many layers the first sees the prompt. `of_frames`: each frame has its number, and
    the row of its phoneme (length regulation, arXiv 1905.09263).
    """

    width: int
    layers: int
    kernel: int
    attention_every: int
    heads: int
    of_frames: bool = False

    def __post_init__(self) -> None:
        numbers = {"width": self.width, "attention_every": self.attention_every}
        check("a predictor", numbers, layers=self.layers)
        check("a predictor", {"kernel": self.kernel if self.kernel % 2 else 0})
        check_heads("a predictor", self.width, self.heads)

    @property
    def inputs(self) -> tuple[Port, ...]:
        own = (
            (
                Port(name="alignment", type="int", shape=("batch", "frames"), below="phonemes"),
                Port(name="frame_mask", shape=("batch", "frames"), values="mask"),
            )
            if self.of_frames
            else (Port(name="phoneme_mask", shape=("batch", "phonemes"), values="mask"),)
        )
        return (
            Port(name="hidden", shape=("batch", "phonemes", self.width)),
            *own,
            Port(name="rows", shape=("batch", "prompt_frames", self.width)),
            Port(name="prompt_mask", shape=("batch", "prompt_frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        size = "frames" if self.of_frames else "phonemes"
        wide = [Port(name="features", shape=("batch", size, self.width))]
        wide += [Port(name="repeated", shape=wide[0].shape)] if self.of_frames else []
        return (Port(name="log", shape=("batch", size)), *wide)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, PHONEMES, PROMPT, *((FRAMES,) if self.of_frames else ())

    def attends(self, layer: int) -> bool:
        return layer % self.attention_every == 0

    def look(self, layer: int) -> str:
        """What names of a layer's attention begin with."""
        return f"looks.{layer // self.attention_every}."

    def shapes(self) -> dict[str, Shape]:
        width, out = self.width, dict[str, Shape]()
        for i in range(self.layers):
            at = f"layers.{i}."
            if self.attends(i):
                look = self.look(i)
                out |= norm(f"{look}norm", width) | attention_shapes(look, width)
            out |= matrix(f"{at}conv", width, self.kernel * width) | norm(f"{at}norm", width)
        return out | matrix("output", 1, width)


def predictor(
    ops: Composed[Array],
    spec: PredictorSpec,
    hidden: Array,
    rows: Array,
    prompt_mask: Array,
    phoneme_mask: Array | None = None,
    alignment: Array | None = None,
    frame_mask: Array | None = None,
) -> dict[str, Array]:
    """hidden [B, P, D], rows [B, R, D], prompt_mask [B, R], and phoneme_mask [B, P], or frame_mask [B, N] and
    alignment [B, N], the number of each frame's phoneme -> log [B, N], log(1 + what is predicted); features [B, N, D],
    which it is a product of; of frames also repeated [B, N, D], the rows that they are.
    """
    mask = frame_mask if spec.of_frames else phoneme_mask
    assert mask is not None
    if spec.of_frames:
        assert alignment is not None
        hidden = ops.take(hidden, alignment)
    keep, side = columns(ops, mask), spec.kernel // 2
    x = hidden = ops.mul(hidden, keep)
    for i in range(spec.layers):
        at, before = f"layers.{i}.", x
        if spec.attends(i):
            h = ops.norm(x, f"{spec.look(i)}norm", LAYER)
            h = attend(ops, spec.look(i), h, rows, heads=spec.heads, keep=prompt_mask)
            x = ops.mul(ops.mul(ops.add(x, h), math.sqrt(0.5)), keep)
        x = ops.conv_rows(x, f"{at}conv", kernel=spec.kernel, pad=(side, side))
        x = ops.norm(ops.act(x, "relu"), f"{at}norm", LAYER)
        x = ops.mul(ops.add(x, before) if i else x, keep)
    log = ops.reshape(ops.mul(ops.one(x, "output"), keep), 0, -1)
    out = {"log": log, "features": x}
    return out | ({"repeated": hidden} if spec.of_frames else {})


NETWORK = Network(PredictorSpec, predictor)
