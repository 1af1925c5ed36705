"""What a latent is made under (arXiv 2404.14700): rows of phonemes, one for each frame, and the frame's pitch.

B batch, F frames, D width, K bins.
"""

import math
from dataclasses import dataclass

import numpy as np

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, FRAMES, check, columns
from edge.ops import Array
from edge.typing import F32, Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class PitchSpec:
    """`bins` even steps of log(pitch) from `low` to `high` Hz; the first is below, the last above."""

    width: int
    bins: int = 512
    low: float = 50.0
    high: float = 1100.0

    def __post_init__(self) -> None:
        check("a pitch embedding", {"width": self.width, "bins": self.bins - 2})
        if not 1 <= self.low < self.high <= 1e5:
            raise Damaged(
                f"pitch from {self.low} to {self.high} Hz", fix="give 1 <= low < high <= 100,000"
            )

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="repeated", shape=("batch", "frames", self.width)),
            Port(name="log_pitch", shape=("batch", "frames")),
            Port(name="frame_mask", shape=("batch", "frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="condition", shape=("batch", "frames", self.width)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    def shapes(self) -> dict[str, Shape]:
        return {"rows": (self.width, self.bins)}


def pitch_embedding(
    ops: Composed[Array], spec: PitchSpec, repeated: Array, log_pitch: Array, frame_mask: Array
) -> dict[str, Array]:
    """repeated [B, F, D], log_pitch [B, F], frame_mask [B, F] -> condition [B, F, D]. log_pitch is log(1 + Hz),
    what predictors learn: bins are compared in the same terms, so that nothing is rounded before (the public
    code takes exp without - 1 there, which its own training does not).
    """
    edges = spec.bins - 1
    bounds = ops.const(f"pitch.{edges}.{spec.low}.{spec.high}", (edges,), lambda: bounds_of(spec))
    # 1 for every bound below: bin k is where the k-th is and the next is not.
    under = ops.pair("at_least", bounds, columns(ops, log_pitch))  # [B, F, K - 1]
    above = ops.pair("add", ops.mul(under, -1.0), 1.0)
    one_more = ops.pair("add", ops.mul(ops.pad(under, 2, 1, 0), -1.0), 1.0)
    which = ops.pair("sub", one_more, ops.pad(above, 2, 0, 1))  # [B, F, K], 1 in one place
    rows = ops.one(which, "rows", bias=False)
    return {"condition": ops.mul(ops.add(repeated, rows), columns(ops, frame_mask))}


def bounds_of(spec: PitchSpec) -> F32:
    """log(1 + Hz) of the bounds between bins: [K - 1]."""
    logs = np.linspace(math.log(spec.low), math.log(spec.high), spec.bins - 1)
    return np.log1p(np.exp(logs)).astype(np.float32)


NETWORK = Network(PitchSpec, pitch_embedding)
