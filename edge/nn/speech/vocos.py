"""Vocos (arXiv 2306.00814): frames of a spectrogram, or of a codec's latent, to sound by ConvNeXt blocks and one
inverse Fourier transform.

B batch, F frames, C channels of a frame, D width, H samples of a frame.
"""

from dataclasses import dataclass
from typing import Literal

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, columns
from edge.nn.speech.codec import FRAMES, MOST_HOP
from edge.nn.speech.convnext import ConvNextSpec, convnext
from edge.nn.speech.istft import istft
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape

LOUDEST = 100.0  # of a frequency's magnitude


@dataclass(frozen=True, kw_only=True, slots=True)
class VocosSpec:
    """`window`: samples of a Fourier transform, a multiple of `hop`. `padding`: frames are centred, so that the
    last `hop` samples are the fading end of the last frame; or a frame is its own `hop` samples.
    """

    channels: int
    width: int
    ffn_width: int
    layers: int
    window: int
    hop: int
    padding: Literal["center", "same"] = "center"

    def __post_init__(self) -> None:
        self.body.check("a vocoder")
        fits = 1 <= self.hop <= MOST_HOP and self.window <= MOST_HOP
        if not fits or self.window % self.hop or self.window % 2 or self.window == self.hop:
            raise Damaged(
                f"windows of {self.window} samples, {self.hop} apart",
                fix=f"give an even multiple of the hop, {MOST_HOP} at most",
            )
        if self.padding == "same" and (self.window - self.hop) % 2:
            raise Damaged(
                f"windows of {self.window} samples, {self.hop} apart, have no middle",
                fix="give an even difference",
            )

    @property
    def body(self) -> ConvNextSpec:
        return ConvNextSpec(
            channels=self.channels,
            width=self.width,
            ffn_width=self.ffn_width,
            layers=self.layers,
        )

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="mel", shape=("batch", "frames", self.channels)),
            Port(name="frame_mask", shape=("batch", "frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="audio", shape=("batch", "frames", self.hop), values="signal"),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's samples depend on, at most: by every kernel, and by windows that
        overlap.
        """
        return self.body.reach + -(-self.window // (2 * self.hop)) + 1

    def shapes(self) -> dict[str, Shape]:
        return self.body.shapes() | matrix("output", self.window + 2, self.width)


def vocos(ops: Composed[Array], spec: VocosSpec, mel: Array, frame_mask: Array) -> dict[str, Array]:
    """mel [B, F, C], frame_mask [B, F] -> audio [B, F, H], silent in frames that do not count."""
    keep = columns(ops, frame_mask)
    x = convnext(ops, spec.body, mel, keep)
    return {"audio": _sound(ops, spec, x, keep)}


def _sound(ops: Composed[Array], spec: VocosSpec, x: Array, keep: Array) -> Array:
    half = spec.window // 2 + 1
    loud, phase = ops.split(ops.one(x, "output"), half, half)
    loud = ops.pair("min", ops.act(loud, "exp"), LOUDEST)
    real, imaginary = (ops.mul(loud, ops.act(phase, kind)) for kind in ("cos", "sin"))
    skip = spec.window // 2 if spec.padding == "center" else (spec.window - spec.hop) // 2
    return istft(ops, real, imaginary, keep, window=spec.window, hop=spec.hop, skip=skip)


NETWORK = Network(VocosSpec, vocos)
