"""FlashSpeech's prosody refinement (arXiv 2404.14700, 3.5): what is random in durations or pitch, added to what was
predicted, by as much as the caller wants.

The paper has 30 WaveNet layers that see both ways, learned as a consistency model, under the features that the
first prediction is a product of. It leaves open what a call takes, and its public code has no such network: here
the residual is a consistency model's clean number (`edge.nn.speech.consistency`), from noise of the caller's.

B batch, N rows (phonemes, or frames), D width of the features.
"""

from dataclasses import dataclass

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, FRAMES, check, columns
from edge.nn.speech.consistency import EDM, SigmaSpec, denoised
from edge.nn.speech.wavenet import WaveSpec, wavenet
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinerSpec:
    """`wave`: of one channel, seeing no prompt; `features`: how wide they are, where a product makes them narrower."""

    wave: WaveSpec
    sigma: SigmaSpec = EDM
    features: int | None = None

    def __post_init__(self) -> None:
        if self.wave.channels != 1 or self.wave.attention_every is not None:
            raise Damaged(
                "a refiner of several channels, or that sees a prompt", fix="correct its numbers"
            )
        check("a refiner", {"features": self._features})

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="noisy", shape=("batch", "frames")),
            Port(name="sigma", shape=("batch", 1), values="positive"),
            Port(name="features", shape=("batch", "frames", self._features)),
            Port(name="initial", shape=("batch", "frames")),
            Port(name="alpha", shape=("batch", 1)),
            Port(name="mask", shape=("batch", "frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="refined", shape=("batch", "frames")),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    @property
    def _features(self) -> int:
        return self.wave.width if self.features is None else self.features

    def shapes(self) -> dict[str, Shape]:
        narrower = self.features is not None
        own = matrix("narrow", self.wave.width, self._features) if narrower else {}
        return own | self.wave.shapes()


def refiner(
    ops: Composed[Array],
    spec: RefinerSpec,
    noisy: Array,
    sigma: Array,
    features: Array,
    initial: Array,
    alpha: Array,
    mask: Array,
) -> dict[str, Array]:
    """noisy [B, N], sigma [B, 1], features [B, N, D], initial [B, N], alpha [B, 1], mask [B, N] -> refined
    [B, N] = initial + alpha residual, zero in rows that do not count.
    """
    seen = features if spec.features is None else ops.one(features, "narrow")

    def estimate(x: Array, step: Array) -> Array:
        return wavenet(ops, spec.wave, x, seen, step, mask)

    width = spec.wave.width
    residual = denoised(ops, spec.sigma, columns(ops, noisy), sigma, width, estimate)
    refined = ops.add(initial, ops.mul(ops.reshape(residual, 0, -1), alpha))
    return {"refined": ops.mul(refined, mask)}


NETWORK = Network(RefinerSpec, refiner)
