"""Rotary frequencies and tables (arXiv 2104.09864), computed once for every target.

W width of a head or rotated width, P positions, T tokens, H heads.
"""

import math

import numpy as np

from edge.spec import DynamicNtk, Llama3Scaling, LongRope, Rope
from edge.typing import F32


def frequencies(rope: Rope, context: int) -> F32:
    """Angle per position of each rotated pair, in a model of this context: [W / 2], radians."""
    theta = rope.theta
    if isinstance(rope.scaling, DynamicNtk):
        theta *= _growth(rope.scaling, context) ** (rope.width / (rope.width - 2))
    exponent = np.arange(0, rope.width, 2, dtype=np.float32) / np.float32(rope.width)
    inverse = (1.0 / np.float32(theta) ** exponent).astype(np.float32)
    if isinstance(rope.scaling, LongRope):
        factors: F32 = np.array(_factors(rope.scaling, context)[0], np.float32)
        return inverse / factors
    if isinstance(rope.scaling, Llama3Scaling):
        return _llama3(inverse, rope.scaling)
    return inverse


def tables(rope: Rope, context: int, positions: range | None = None) -> tuple[F32, F32]:
    """cos and sin of the angles at every position, or at these: two of [P, W / 2]."""
    at = range(context) if positions is None else positions
    places = np.arange(at.start, at.stop, dtype=np.float32)
    angles = np.outer(places, frequencies(rope, context))  # [P, W / 2]
    by = attention_factor(rope, context)
    if by == 1:
        return np.cos(angles), np.sin(angles)
    return np.cos(angles) * np.float32(by), np.sin(angles) * np.float32(by)


def attention_factor(rope: Rope, context: int) -> float:
    """What cosines and sines are multiplied by."""
    return _factors(rope.scaling, context)[1] if isinstance(rope.scaling, LongRope) else 1.0


def _growth(scaling: DynamicNtk, context: int) -> float:
    """What the base is multiplied by, before its power: 1 up to the original context."""
    times = max(1.0, context / scaling.original_context)
    return scaling.factor * times - (scaling.factor - 1)


def rotate(x: F32, rope: tuple[F32, F32], start: int) -> F32:
    """Turn the first rotated dimensions of each head: x [T, H, W] at positions start, start + 1, …"""
    cos, sin = (table[start : start + len(x), None, :] for table in rope)  # [T, 1, rotated / 2]
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate((a * cos - b * sin, b * cos + a * sin, rest), axis=-1)


def _factors(scaling: LongRope, context: int) -> tuple[tuple[float, ...], float]:
    """The context decides, not the sequence: see `edge.spec.parts`."""
    if context > scaling.original_context:
        return scaling.long, scaling.long_attention
    return scaling.short, scaling.short_attention


def _llama3(inverse: F32, scaling: Llama3Scaling) -> F32:
    """Short wavelengths stay, long ones are stretched by `factor`, those between are blended."""
    wavelength = 2 * math.pi / inverse
    low = scaling.original_context / scaling.low_freq_factor
    high = scaling.original_context / scaling.high_freq_factor
    smooth = (scaling.original_context / wavelength - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - smooth) * inverse / scaling.factor + smooth * inverse
    stretched = np.where(wavelength > low, inverse / scaling.factor, blended)
    return np.where(wavelength < high, inverse, stretched).astype(np.float32)
