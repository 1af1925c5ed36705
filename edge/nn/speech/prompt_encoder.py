"""FlashSpeech's prompt encoder (arXiv 2404.14700): a voice's latents -> rows to look at, a few tokens that ask
these rows, and their mean.

B batch, R prompt frames, C channels of the latent, D width, N tokens.
"""

from dataclasses import dataclass

from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import (
    BATCH,
    PROMPT,
    attend,
    attention_shapes,
    check,
    check_heads,
    columns,
)
from edge.nn.speech.encoder import EncoderSpec, encoder
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSpec:
    channels: int
    encoder: EncoderSpec
    tokens: int
    heads: int

    def __post_init__(self) -> None:
        check("a prompt encoder", {"channels": self.channels, "tokens": self.tokens})
        check_heads("a prompt encoder's queries", self.encoder.width, self.heads)

    @property
    def inputs(self) -> tuple[Port, ...]:
        return (
            Port(name="prompt", shape=("batch", "prompt_frames", self.channels)),
            Port(name="prompt_mask", shape=("batch", "prompt_frames"), values="mask"),
        )

    @property
    def outputs(self) -> tuple[Port, ...]:
        width = self.encoder.width
        return (
            Port(name="rows", shape=("batch", "prompt_frames", width)),
            Port(name="tokens", shape=("batch", self.tokens, width)),
            Port(name="style", shape=("batch", 1, width)),
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        return BATCH, PROMPT

    def shapes(self) -> dict[str, Shape]:
        width = self.encoder.width
        out = matrix("input", width, self.channels) | self.encoder.shapes(styled=False)
        return out | {"queries": (self.tokens, width)} | attention_shapes("ask.", width)


def prompt_encoder(
    ops: Composed[Array], spec: PromptSpec, prompt: Array, prompt_mask: Array
) -> dict[str, Array]:
    """prompt [B, R, C], prompt_mask [B, R] -> rows [B, R, D], tokens [B, N, D], style [B, 1, D]."""
    rows = encoder(ops, spec.encoder, PROMPT, ops.one(prompt, "input"), prompt_mask)
    queries = ops.spread(ops.param("queries"), rows)
    count = ops.fold(columns(ops, prompt_mask), "sum", 1)
    return {
        "rows": rows,
        "tokens": attend(ops, "ask.", queries, rows, heads=spec.heads, keep=prompt_mask),
        "style": ops.pair("div", ops.fold(rows, "sum", 1), count),
    }


NETWORK = Network(PromptSpec, prompt_encoder)
