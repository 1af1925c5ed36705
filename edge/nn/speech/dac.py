"""The Descript Audio Codec (arXiv 2306.06546): sound to latents, or latents to sound, before and after its
quantizer.

B batch, F frames, H samples of a frame, C channels, D latent width.
"""

from dataclasses import dataclass

from edge.errors import Damaged
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import check, columns
from edge.nn.speech.codec import CodecSide, hop_of, repeated, snake
from edge.nn.weights import matrix
from edge.ops import Array
from edge.typing import Shape

KERNEL = 7
DILATIONS = (1, 3, 9)  # of a block's three units


@dataclass(frozen=True, kw_only=True, slots=True)
class DacSpec(CodecSide):
    """`width`: channels at the sound's end of an encoder, and at the latent's of a decoder."""

    width: int

    def __post_init__(self) -> None:
        check("a codec", {"latent": self.latent, "width": self.width, "widest": max(self.widths)})
        hop_of(self.ratios)
        if self.side == "decoder" and self.width % 2 ** len(self.ratios):
            raise Damaged(
                f"a decoder's width {self.width} cannot be halved {len(self.ratios)} times",
                fix="correct config.json",
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before each block, and after the last."""
        powers = range(len(self.ratios) + 1)
        if self.side == "encoder":
            return tuple(self.width << i for i in powers)
        return tuple(self.width >> i for i in powers)

    def shapes(self) -> dict[str, Shape]:
        encodes, widths = self.side == "encoder", self.widths
        out = _conv("input", widths[0], 1 if encodes else self.latent, KERNEL)
        for i, ratio in enumerate(self.ratios):
            at, before, after = f"blocks.{i}.", widths[i], widths[i + 1]
            units = _units(at, before if encodes else after)
            size = (after, 2 * ratio * before) if encodes else (2 * ratio * after, before)
            middle: dict[str, Shape] = {f"{at}snake": (before,)}
            middle |= {f"{at}resize": size, f"{at}resize.bias": (after,)}
            out |= units | middle if encodes else middle | units
        out |= {"snake": (widths[-1],)}
        ends = (self.latent, 3) if encodes else (1, KERNEL)
        return out | _conv("output", ends[0], widths[-1], ends[1])


def dac(
    ops: Composed[Array],
    spec: DacSpec,
    frame_mask: Array,
    audio: Array | None = None,
    latent: Array | None = None,
) -> dict[str, Array]:
    """audio [B, F, H] -> latent [B, F, D], or latent -> audio; frame_mask [B, F]. Nothing is in frames that do
    not count. Where a ratio is odd, a decoder has a few samples less than its frames hold: the last are zero.
    """
    frames = columns(ops, frame_mask)
    if spec.side == "encoder":
        assert audio is not None
        return {"latent": _encoded(ops, spec, audio, frames)}
    assert latent is not None
    return {"audio": _decoded(ops, spec, latent, frames)}


def _encoded(ops: Composed[Array], spec: DacSpec, audio: Array, frames: Array) -> Array:
    rate = spec.hop
    keep = repeated(ops, frames, rate)
    x = ops.mul(ops.reshape(audio, 0, -1, 1), keep)
    x = ops.mul(ops.conv(x, "input", pad=(3, 3)), keep)
    for i, ratio in enumerate(spec.ratios):
        at = f"blocks.{i}."
        x = snake(ops, _unit_stack(ops, at, x, keep), f"{at}snake")
        rate //= ratio
        keep = repeated(ops, frames, rate)
        pad = (-(-ratio // 2), ratio // 2)
        x = ops.conv_strided(
            x, f"{at}resize", kernel=2 * ratio, stride=ratio, width=spec.widths[i], pad=pad
        )
        x = ops.mul(x, keep)
    return ops.mul(ops.conv(snake(ops, x, "snake"), "output", pad=(1, 1)), keep)


def _decoded(ops: Composed[Array], spec: DacSpec, latent: Array, frames: Array) -> Array:
    keep = frames
    x = ops.mul(ops.conv(ops.mul(latent, keep), "input", pad=(3, 3)), keep)
    for i, ratio in enumerate(spec.ratios):
        at = f"blocks.{i}."
        keep = repeated(ops, keep, ratio)
        if ratio % 2:  # its own padding leaves the last row out
            keep = ops.mul(keep, ops.pad(keep, 1, -1, 1))
        half = -(-ratio // 2)
        x = ops.conv_transpose(
            snake(ops, x, f"{at}snake"), f"{at}resize",
            kernel=2 * ratio, stride=ratio, width=spec.widths[i + 1], cut=(half, ratio - half),
        )  # fmt: skip
        x = _unit_stack(ops, at, ops.mul(x, keep), keep)
    x = ops.act(ops.conv(snake(ops, x, "snake"), "output", pad=(3, 3)), "tanh")
    return ops.reshape(ops.mul(x, keep), 0, -1, spec.hop)


def _unit_stack(ops: Composed[Array], at: str, x: Array, keep: Array) -> Array:
    for number, far in enumerate(DILATIONS, 1):
        unit = f"{at}unit{number}."
        h = ops.conv(
            snake(ops, x, f"{unit}snake1"), f"{unit}conv1", pad=(3 * far, 3 * far), dilation=far
        )
        h = ops.one(snake(ops, h, f"{unit}snake2"), f"{unit}conv2")
        x = ops.mul(ops.add(x, h), keep)
    return x


def _units(at: str, width: int) -> dict[str, Shape]:
    out: dict[str, Shape] = {}
    for number in range(1, len(DILATIONS) + 1):
        unit = f"{at}unit{number}."
        out |= {f"{unit}snake1": (width,)} | _conv(f"{unit}conv1", width, width, KERNEL)
        out |= {f"{unit}snake2": (width,)} | matrix(f"{unit}conv2", width, width)
    return out


def _conv(name: str, rows: int, columns: int, kernel: int) -> dict[str, Shape]:
    return {name: (rows, columns, kernel), f"{name}.bias": (rows,)}


NETWORK = Network(DacSpec, dac)
