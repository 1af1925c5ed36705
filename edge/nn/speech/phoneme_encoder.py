"""FlashSpeech's phoneme encoder (arXiv 2404.14700): phonemes by number -> rows, in the style of a voice.

B batch, P phonemes, D width.
"""

from dataclasses import dataclass

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import BATCH, PHONEMES, check
from edge.nn.speech.encoder import EncoderSpec, encoder
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class PhonemeSpec:
    """`vocab`: how many phonemes there are; 0 pads."""

    vocab: int
    encoder: EncoderSpec

    def __post_init__(self) -> None:
        check("a phoneme encoder", {"vocab": self.vocab})

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="phonemes", type="int", shape=("batch", "phonemes"), below=self.vocab),
            Port(name="phoneme_mask", shape=("batch", "phonemes"), values="mask"),
            Port(name="style", shape=("batch", 1, self.encoder.width)),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="hidden", shape=("batch", "phonemes", self.encoder.width)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, PHONEMES

    def shapes(self) -> dict[str, Shape]:
        return {"table": (self.vocab, self.encoder.width)} | self.encoder.shapes(styled=True)


def phoneme_encoder(
    ops: Composed[Array], spec: PhonemeSpec, phonemes: Array, phoneme_mask: Array, style: Array
) -> dict[str, Array]:
    """phonemes [B, P], phoneme_mask [B, P], style [B, 1, D] -> hidden [B, P, D]."""
    rows = ops.embed("table", phonemes)
    return {"hidden": encoder(ops, spec.encoder, PHONEMES, rows, phoneme_mask, style)}


NETWORK = Network(PhonemeSpec, phoneme_encoder)
