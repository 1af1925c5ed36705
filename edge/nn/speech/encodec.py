"""EnCodec (arXiv 2210.13438): sound to latents, or latents to sound, before and after its quantizer; that of 24 kHz,
whose layers see nothing that comes later.

B batch, F frames, H samples of a frame, C channels, D latent width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import Damaged
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.speech.blocks import check, columns
from edge.nn.speech.codec import CodecSide, elu, hop_of, repeated
from edge.ops import Array
from edge.typing import F32, Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """`kind`: a convolution, one that makes its input shorter or longer, a residual unit, or a memory. `at`: its
    place among the published modules; `far`: its dilation.
    """

    kind: Literal["conv", "down", "up", "unit", "memory"]
    at: int
    into: int
    out: int
    kernel: int = 1
    far: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodecSpec(CodecSide):
    """`ratios`: by how much a decoder makes its input longer, one after another. `filters`: channels at the sound's
    end. `units`: residual ones of a block, whose dilation grows `growth` times from one to the next; `compress`:
    by how much they are narrower within; `shortcut`: whether what goes past them is a product.
    """

    filters: int
    kernel: int = 7
    last_kernel: int = 7
    unit_kernel: int = 3
    units: int = 1
    growth: int = 2
    compress: int = 2
    memories: int = 2
    shortcut: bool = True

    def __post_init__(self) -> None:
        hop_of(self.ratios)
        kernels = {"kernel": self.kernel, "last": self.last_kernel, "unit": self.unit_kernel}
        numbers = {"latent": self.latent, "widest": self.filters << len(self.ratios)}
        check("a codec", {**numbers, "compress": self.compress}, layers=self.units)
        farthest = self.growth ** (self.units - 1) if self.units <= 8 else 0
        check("a codec", {"growth": farthest if farthest <= 1 << 10 else 0})
        if not all(1 <= n <= 63 for n in kernels.values()) or not 0 <= self.memories <= 8:
            raise Damaged(
                f"a codec of kernels {kernels} and {self.memories} memories",
                fix="correct config.json",
            )
        if self.filters % self.compress:
            raise Damaged(
                f"{self.filters} filters are no multiple of {self.compress}",
                fix="correct config.json",
            )

    def layers(self) -> Iterator[Layer]:
        """In their order; activations have places, too."""
        return self._encoder() if self.side == "encoder" else self._decoder()

    def _encoder(self) -> Iterator[Layer]:
        at, width = 1, self.filters
        yield Layer("conv", 0, 1, width, self.kernel)
        for ratio in reversed(self.ratios):
            for i in range(self.units):
                yield Layer("unit", at, width, width, self.unit_kernel, self.growth**i)
                at += 1
            yield Layer("down", at + 1, width, 2 * width, 2 * ratio)
            at, width = at + 2, 2 * width
        yield Layer("memory", at, width, width)
        yield Layer("conv", at + 2, width, self.latent, self.last_kernel)

    def _decoder(self) -> Iterator[Layer]:
        at, width = 2, self.filters << len(self.ratios)
        yield Layer("conv", 0, self.latent, width, self.kernel)
        yield Layer("memory", 1, width, width)
        for ratio in self.ratios:
            yield Layer("up", at + 1, width, width // 2, 2 * ratio)
            at, width = at + 2, width // 2
            for i in range(self.units):
                yield Layer("unit", at, width, width, self.unit_kernel, self.growth**i)
                at += 1
        yield Layer("conv", at + 1, width, 1, self.last_kernel)

    def shapes(self) -> dict[str, Shape]:
        out: dict[str, Shape] = {}
        for layer in self.layers():
            out |= self._of(f"layers.{layer.at}.", layer)
        return out

    def _of(self, at: str, layer: Layer) -> dict[str, Shape]:
        into, width, kernel = layer.into, layer.out, layer.kernel
        if layer.kind == "unit":
            narrow = width // self.compress
            out: dict[str, Shape] = {
                f"{at}first": (narrow, into, kernel),
                f"{at}first.bias": (narrow,),
            }
            out |= {f"{at}second": (width, narrow), f"{at}second.bias": (width,)}
            more: dict[str, Shape] = {
                f"{at}shortcut": (width, into),
                f"{at}shortcut.bias": (width,),
            }
            return out | (more if self.shortcut else {})
        if layer.kind == "memory":
            out = {}
            for i in range(self.memories):
                out[f"{at}{i}.in"], out[f"{at}{i}.state"] = (4 * width, width), (4 * width, width)
                out[f"{at}{i}.bias"] = (4 * width,)
            return out
        size: Mapping[str, Shape] = {
            "conv": (width, into, kernel),
            "down": (width, kernel * into),
            "up": (kernel * width, into),
        }
        return {f"{at}{layer.kind}": size[layer.kind], f"{at}{layer.kind}.bias": (width,)}


def encodec(
    ops: Composed[Array],
    spec: EncodecSpec,
    frame_mask: Array,
    audio: Array | None = None,
    latent: Array | None = None,
) -> dict[str, Array]:
    """audio [B, F, H] -> latent [B, F, D], or latent -> audio; frame_mask [B, F]. Nothing is in frames that do not
    count: what is turned round where a sound begins would else be noise of them, if it is very short.
    """
    frames, encodes = columns(ops, frame_mask), spec.side == "encoder"
    x = ops.reshape(audio, 0, -1, 1) if encodes else latent  # type: ignore[arg-type]
    rate = spec.hop if encodes else 1
    assert x is not None
    for layer in spec.layers():
        x = ops.mul(x, repeated(ops, frames, rate))
        at = f"layers.{layer.at}."
        if layer.kind == "conv":
            x = x if layer.at == 0 else elu(ops, x)
            x = ops.conv(_before(ops, x, layer.kernel - 1), f"{at}conv")
        elif layer.kind == "memory":
            x = _memory(ops, spec, at, x)
        elif layer.kind == "unit":
            x = _unit(ops, spec, at, layer, x)
        else:
            x, stride = _resized(ops, at, layer, elu(ops, x)), layer.kernel // 2
            rate = rate // stride if encodes else rate * stride
    x = x if encodes else ops.reshape(x, 0, -1, spec.hop)
    return {"latent" if encodes else "audio": ops.mul(x, frames)}


def _resized(ops: Composed[Array], at: str, layer: Layer, x: Array) -> Array:
    stride = layer.kernel // 2
    if layer.kind == "down":
        x = _before(ops, x, stride)
        return ops.conv_strided(
            x, f"{at}down", kernel=layer.kernel, stride=stride, width=layer.into, pad=(0, 0)
        )
    return ops.conv_transpose(
        x, f"{at}up", kernel=layer.kernel, stride=stride, width=layer.out, cut=(0, stride)
    )


def _unit(ops: Composed[Array], spec: EncodecSpec, at: str, layer: Layer, x: Array) -> Array:
    h = _before(ops, elu(ops, x), (layer.kernel - 1) * layer.far)
    h = ops.one(elu(ops, ops.conv(h, f"{at}first", dilation=layer.far)), f"{at}second")
    return ops.add(ops.one(x, f"{at}shortcut") if spec.shortcut else x, h)


def _memory(ops: Composed[Array], spec: EncodecSpec, at: str, x: Array) -> Array:
    h = x
    for i in range(spec.memories):
        h = ops.lstm(h, f"{at}{i}")
    return ops.add(h, x) if spec.memories else x


def _before(ops: Composed[Array], x: Array, count: int) -> Array:
    """x [B, T, C] behind its first rows turned round, without the very first: [B, count + T, C]. Rows that there
    are too few of are zero. Which row goes where is two products with zeros and ones, for a target cannot take the
    first rows of an axis whose length it does not know.
    """
    if not count:
        return x
    ones = ops.pair("add", ops.mul(ops.fold(x, "max", -1), 0.0), 1.0)  # [B, T, 1]
    longer = ops.pair("add", ops.mul(ops.pad(ones, 1, count, 0), 0.0), 1.0)
    # The row before the first is the second one, and so on.
    turned = ops.const(f"turned.{count}", (count, 1), lambda: _numbers(count + 1, 1)[:, None])
    chosen = _equal(ops, ops.cumsum(ops.reshape(ones, 0, 1, -1)), turned)  # [B, count, T]
    place = ops.const(f"places.{count}", (count,), lambda: _numbers(1, count + 1))
    where = ops.reshape(ops.cumsum(ops.reshape(longer, 0, 1, -1)), 0, -1, 1)
    rows = ops.matmul(_equal(ops, where, place), ops.matmul(chosen, x))
    return ops.add(ops.pad(x, 1, count, 0), rows)


def _equal(ops: Composed[Array], x: Array, y: Array) -> Array:
    """1 where whole numbers are the same."""
    return ops.pair(
        "sub",
        ops.pair("at_least", x, ops.pair("add", y, -0.5)),
        ops.pair("at_least", x, ops.pair("add", y, 0.5)),
    )


def _numbers(start: int, stop: int) -> F32:
    """From one to before the other, up or down."""
    step = 1 if stop > start else -1
    return np.arange(start, stop, step).astype(np.float32)


NETWORK = Network(EncodecSpec, encodec)
