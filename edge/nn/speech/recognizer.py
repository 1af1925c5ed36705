"""A recognizer of phonemes: what each frame of a spectrogram sounds like, or that nothing does, and the features that
it knows that by. It is learned by CTC (Graves et al., ICML 2006), so that texts can be aligned with their sound.

B batch, F frames, C mel bands, D width, V sounds.
"""

from dataclasses import dataclass

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, FRAMES, check, columns
from edge.nn.speech.convnext import ConvNextSpec, convnext
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerSpec:
    """`sounds`: how many there are, of which the first is the blank."""

    body: ConvNextSpec
    sounds: int

    def __post_init__(self) -> None:
        self.body.check("a recognizer")
        check("a recognizer", {"sounds": self.sounds})

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="mel", shape=("batch", "frames", self.body.channels)),
            Port(name="frame_mask", shape=("batch", "frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (
            Port(name="logits", shape=("batch", "frames", self.sounds)),
            Port(name="features", shape=("batch", "frames", self.body.width)),
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, FRAMES

    def shapes(self) -> dict[str, Shape]:
        return self.body.shapes() | matrix("output", self.sounds, self.body.width)


def recognizer(
    ops: Composed[Array], spec: RecognizerSpec, mel: Array, frame_mask: Array
) -> dict[str, Array]:
    """mel [B, F, C], frame_mask [B, F] -> logits [B, F, V], features [B, F, D], zero in frames that do not count. Of
    each band its mean over the frames that count is taken away: a microphone's colour and a level say nothing.
    """
    keep = columns(ops, frame_mask)
    heard = ops.mul(mel, keep)
    mean = ops.pair("div", ops.fold(heard, "sum", 1), ops.fold(keep, "sum", 1))
    features = convnext(ops, spec.body, ops.pair("sub", heard, mean), keep)
    return {
        "logits": ops.mul(ops.one(features, "output"), keep),
        "features": ops.mul(features, keep),
    }


NETWORK = Network(RecognizerSpec, recognizer)
