"""Colours that stay apart from each other, and ink that is legible on them.

How far apart is measured in OKLab (Bjorn Ottosson, "A perceptual color space for image processing", 2020), what is
legible by the ratio of contrast of WCAG 2.2.
"""

from functools import lru_cache

import numpy as np

from edge.typing import F64

Colour = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_STEPS = 12  # of each channel, between which colours are chosen
_LIGHT = (0.5, 0.85)  # neither near black nor near white
_VIVID = 0.08  # at least so far from gray
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(colours: F64) -> F64:
    """sRGB [..., 3], 0 to 255 -> lightness and two of hue, [..., 3]."""
    return np.cbrt(_linear(colours) @ _TO_CONES.T) @ _TO_LAB.T


def contrast(one: Colour, other: Colour) -> float:
    """1 of equal ones, 21 of black and white; 4.5 is legible."""
    lights = sorted(
        float(_linear(np.array(c, np.float64)) @ (0.2126, 0.7152, 0.0722)) for c in (one, other)
    )
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def ink(ground: Colour) -> Colour:
    """Black or white, whichever is legible there: one of them always is."""
    return max(BLACK, WHITE, key=lambda colour: contrast(colour, ground))


@lru_cache
def colours(count: int) -> tuple[Colour, ...]:
    """Each the farthest from all before it, so that the first ones are those of any larger count."""
    level = np.linspace(0, 255, _STEPS).round()
    every = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = oklab(every)
    vivid = np.hypot(lab[:, 1], lab[:, 2])
    fit = (vivid > _VIVID) & (lab[:, 0] > _LIGHT[0]) & (lab[:, 0] < _LIGHT[1])
    every, lab, vivid = every[fit], lab[fit], vivid[fit]
    assert count <= len(every), f"{count} colours of {len(every)}"
    chosen, apart = [int(vivid.argmax())], np.full(len(every), np.inf)
    while len(chosen) < count:
        apart = np.minimum(apart, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    return tuple((int(r), int(g), int(b)) for r, g, b in every[chosen[:count]])


def _linear(colours: F64) -> F64:
    """sRGB, 0 to 255 -> light, 0 to 1 (IEC 61966-2-1)."""
    parts = colours / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
