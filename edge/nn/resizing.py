"""Resizing as a product: what each new pixel takes of each old one, by torch's rules for `interpolate`."""

from typing import Literal

import numpy as np

from edge.typing import F32

Rule = Literal["bilinear", "bilinear-aligned", "bicubic", "bicubic-aligned"]
_A = -0.75  # the constant of torch's cubic


def matrix(start: int, stop: int, rule: Rule) -> F32:
    """[stop, start]. `aligned`: the corners' middles stay where they are, else the corners do; nothing is
    smoothed where a map becomes smaller.
    """
    kind, _, aligned = rule.partition("-")
    places = np.arange(stop, dtype=np.float64)
    between = (start - 1) / max(stop - 1, 1)
    at = places * between if aligned else (places + 0.5) * (start / stop) - 0.5
    first = np.floor(at).astype(np.int64)
    offsets = (0, 1) if kind == "bilinear" else (-1, 0, 1, 2)
    out = np.zeros((stop, start))
    for offset in offsets:
        column = np.clip(first + offset, 0, start - 1)  # the edge goes on
        distance = np.abs(at - (first + offset))
        weight = 1 - distance if kind == "bilinear" else _cubic(distance)
        np.add.at(out, (np.arange(stop), column), weight)
    return out.astype(np.float32)


def _cubic(
    distance: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Keys' cubic convolution (doi 10.1109/TASSP.1981.1163711)."""
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
