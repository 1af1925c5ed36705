"""FlashSpeech's consistency network (arXiv 2404.14700): a noisy latent and how much noise it has -> the latent
without any, in one call. Noise and its sizes come from outside: `edge.nn.speech.noise` has them.

B batch, T frames, C channels of the latent, D width, N prompt tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, FRAMES, angles, check, columns
from edge.nn.speech.wavenet import WaveSpec, wavenet
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class SigmaSpec:
    """How a network is told of its noise (EDM, arXiv 2206.00364). `data`: the deviation of what is clean;
    `least`: at so much noise it gives back what it got; `scale`: what log(sigma) / 4 is multiplied by before its
    angles (the paper says 1000, its public code has 1).
    """

    data: float = 0.5
    least: float = 0.002
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.data < 1e3 and 0 < self.least < 1e3 and 0 < self.scale < 1e6):
            raise Damaged(
                f"noise of data {self.data}, least {self.least}, scale {self.scale}",
                fix="give numbers above zero; correct config.json",
            )


EDM = SigmaSpec()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencySpec:
    """`tokens`: rows of the prompt."""

    wave: WaveSpec
    tokens: int
    sigma: SigmaSpec = EDM

    def __post_init__(self) -> None:
        check("a consistency network", {"tokens": self.tokens})
        if self.wave.attention_every is None:
            raise Damaged("a consistency network that sees no prompt", fix="give attention_every")

    @property
    def inputs(self) -> tuple[Port, ...]:
        wave = self.wave
        return (
            Port(name="latent", shape=("batch", "frames", wave.channels)),
            Port(name="sigma", shape=("batch", 1), values="positive"),
            Port(name="condition", shape=("batch", "frames", wave.width)),
            Port(name="tokens", shape=("batch", self.tokens, wave.width)),
            Port(name="frame_mask", shape=("batch", "frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="clean", shape=("batch", "frames", self.wave.channels)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    def shapes(self) -> dict[str, Shape]:
        return self.wave.shapes()


def consistency(
    ops: Composed[Array],
    spec: ConsistencySpec,
    latent: Array,
    sigma: Array,
    condition: Array,
    tokens: Array,
    frame_mask: Array,
) -> dict[str, Array]:
    """latent [B, T, C], sigma [B, 1], condition [B, T, D], tokens [B, N, D], frame_mask [B, T] -> clean
    [B, T, C], zero in frames that do not count.
    """

    def estimate(x: Array, step: Array) -> Array:
        return wavenet(ops, spec.wave, x, condition, step, frame_mask, tokens)

    clean = denoised(ops, spec.sigma, latent, sigma, spec.wave.width, estimate)
    return {"clean": ops.mul(clean, columns(ops, frame_mask))}


def denoised(
    ops: Composed[Array],
    spec: SigmaSpec,
    x: Array,
    sigma: Array,
    width: int,
    estimate: Callable[[Array, Array], Array],
) -> Array:
    """c_skip x + c_out F(c_in x, angles of log(sigma) / 4): x [B, T, C], sigma [B, 1] -> [B, T, C]. At the
    least noise c_skip is 1 and c_out 0.
    """
    sigma = ops.reshape(sigma, 0, 1, 1)
    data = spec.data * spec.data
    above = ops.pair("add", sigma, -spec.least)
    root = ops.act(ops.pair("add", ops.mul(sigma, sigma), data), "sqrt")
    keep = ops.pair("add", ops.mul(ops.mul(above, above), 1 / data), 1.0)  # 1 / c_skip
    step = ops.concat(
        *angles(ops, ops.mul(ops.act(sigma, "log"), spec.scale / 4), width, ends=True)
    )
    made = estimate(ops.pair("div", x, root), step)
    made = ops.mul(made, ops.pair("div", ops.mul(above, spec.data), root))
    return ops.add(ops.pair("div", x, keep), made)


NETWORK = Network(ConsistencySpec, consistency)
