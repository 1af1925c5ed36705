"""The keys of a GGUF file that say what a model is, in the types that llama.cpp wants them in."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.gguf.architectures import Architecture, longest
from edge.gguf.kinds import ARRAY, BOOL, FLOAT32, INT32, SCALARS, STRING, UINT32
from edge.spec import DecoderSpec, Llama3Scaling, LongRope, Rope
from edge.typing import F32

Scalar = bool | int | float | str
QUANTIZATION_VERSION = 2


@dataclass(frozen=True, slots=True)
class Typed:
    """A value and the type that the file gives it; a sequence is an array of that type."""

    kind: int
    value: Scalar | Sequence[Scalar]

    def __bytes__(self) -> bytes:
        if not isinstance(self.value, str) and isinstance(self.value, Sequence):
            head = struct.pack("<IIQ", ARRAY, self.kind, len(self.value))
            return head + b"".join(_scalar(self.kind, value) for value in self.value)
        return struct.pack("<I", self.kind) + _scalar(self.kind, self.value)


Keys = Mapping[str, Typed]


def _scalar(kind: int, value: Scalar) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw
    return struct.pack(SCALARS[kind], value)


def text(value: str) -> Typed:
    return Typed(STRING, value)


def count(value: int) -> Typed:
    return Typed(UINT32, value)


def number(value: float) -> Typed:
    return Typed(FLOAT32, value)


def flag(value: bool) -> Typed:
    return Typed(BOOL, value)


def of_spec(spec: DecoderSpec, arch: Architecture) -> Keys:
    """What llama.cpp must know of a model beside its tensors."""
    layers, at = spec.layers, f"{arch.name}."
    keys = {
        "general.architecture": text(arch.name),
        "general.quantization_version": count(QUANTIZATION_VERSION),
        at + "vocab_size": count(spec.vocab),
        at + "context_length": count(longest(spec)),
        at + "embedding_length": count(spec.width),
        at + "block_count": count(len(layers)),
        at + "feed_forward_length": _each([layer.ffn_width for layer in layers], arch),
        at + "attention.head_count": _each([layer.heads for layer in layers], arch),
        at + "attention.head_count_kv": _each([layer.kv_heads for layer in layers], arch),
        at + "attention.key_length": count(layers[0].head_width),
        at + "attention.value_length": count(layers[0].head_width),
        at + "attention.layer_norm_rms_epsilon": number(spec.norm.eps),
        at + "rope.freq_base": number(spec.rope.theta),
        at + "rope.dimension_count": count(spec.rope.width),
    }
    scaling = spec.rope.scaling
    if isinstance(scaling, LongRope):
        keys[at + "rope.scaling.attn_factor"] = number(scaling.long_attention)
    if arch.window:
        original = scaling.original_context if isinstance(scaling, LongRope) else longest(spec)
        keys[at + "rope.scaling.original_context_length"] = count(original)
        keys[at + "attention.sliding_window"] = count(layers[0].window or 0)
    return keys


def rope_tensors(rope: Rope) -> dict[str, F32]:
    """What divides each frequency, where a file says it as a tensor: [W / 2]."""
    if isinstance(rope.scaling, LongRope):
        return {
            "rope_factors_long.weight": np.array(rope.scaling.long, np.float32),
            "rope_factors_short.weight": np.array(rope.scaling.short, np.float32),
        }
    if isinstance(rope.scaling, Llama3Scaling):
        return {"rope_freqs.weight": _llama3(rope)}
    return {}


def _llama3(rope: Rope) -> F32:
    """In single precision and in this order, so that the factors are llama.cpp's to the bit."""
    scaling = rope.scaling
    assert isinstance(scaling, Llama3Scaling)
    exponent = np.arange(0, rope.width, 2, dtype=np.float32) / np.float32(rope.width)
    plain = 1 / (rope.theta ** exponent.astype(np.float64)).astype(np.float32)
    wavelength = 1 / plain * np.float32(2 * np.pi)
    low = scaling.original_context / scaling.low_freq_factor
    high = scaling.original_context / scaling.high_freq_factor
    span = np.float32(scaling.high_freq_factor - scaling.low_freq_factor)
    ratio = 1 / wavelength * np.float32(scaling.original_context)
    smooth = (ratio - np.float32(scaling.low_freq_factor)) / span
    blended = 1 / ((1 - smooth) / np.float32(scaling.factor) + smooth)
    stretched = np.where(wavelength > low, np.float32(scaling.factor), blended)
    return np.where(wavelength < high, np.float32(1), stretched).astype(np.float32)


def listed(spec: DecoderSpec, arch: Architecture) -> bool:
    """Whether a key has a number for each layer."""
    numbers = {(layer.heads, layer.kv_heads, layer.ffn_width) for layer in spec.layers}
    return arch.lists or len(numbers) > 1


def _each(values: Sequence[int], arch: Architecture) -> Typed:
    """One number, or one a layer where they differ or the architecture always has a list."""
    if arch.lists or len(set(values)) > 1:
        return Typed(INT32, values)
    return count(values[0])
