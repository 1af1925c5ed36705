"""How much noise consistency models see, while they learn and while they speak: what FlashSpeech (arXiv 2404.14700)
takes from improved consistency training (arXiv 2310.14189) and from EDM (arXiv 2206.00364). Plain numbers: the
noise itself comes from the caller, so that one seed is one sound wherever a network runs.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from edge.errors import EdgeError
from edge.typing import F32, F64

LEAST, MOST, RHO = 0.002, 80.0, 7.0
MIDDLE = 2.0  # of two steps the second
FIRST, LAST = 10, 1280  # intervals of the grid, when training begins and when it ends
MEAN, DEVIATION = -1.1, 2.0  # of log(sigma) in training


def grid(points: int) -> F64:
    """So many sizes of noise from the least to the most, evenly in their seventh root."""
    if points < 2:
        raise EdgeError(f"a grid of {points} sizes of noise", fix="give 2 or more")
    at = np.linspace(0.0, 1.0, points)
    low, high = LEAST ** (1 / RHO), MOST ** (1 / RHO)
    found: F64 = (low + at * (high - low)) ** RHO
    return found


def curriculum(step: int, steps: int, *, first: int = FIRST, last: int = LAST) -> int:
    """Points of the grid in one of so many steps of training: intervals double until there are `last`."""
    plateau = max(1, int(steps / (math.log2(last // first) + 1)))
    return int(min(first * 2 ** (step // plateau), last)) + 1


def chances(points: int, *, mean: float = MEAN, deviation: float = DEVIATION) -> F64:
    """How often each interval of the grid is drawn, [points - 1]: as a log-normal number falls into it."""
    logs = (np.log(grid(points)) - mean) / (deviation * math.sqrt(2))
    below = np.array([math.erf(x) for x in logs])
    parts = np.diff(below)
    found: F64 = parts / parts.sum()
    return found


def pairs(
    points: int, count: int, rng: np.random.Generator,
    *, mean: float = MEAN, deviation: float = DEVIATION,
) -> tuple[F64, F64]:  # fmt: skip
    """Neighbours of the grid to learn from, the less noise first: [count], [count]. The loss of a pair is
    divided by their difference.
    """
    often = chances(points, mean=mean, deviation=deviation)
    every, at = grid(points), rng.choice(points - 1, size=count, p=often)
    return every[at], every[at + 1]


def sizes(steps: int) -> tuple[float, ...]:
    """How much noise each step of speaking begins from: one, the paper's two, or the grid's without its
    least.
    """
    if steps < 1:
        raise EdgeError(f"{steps} steps", fix="give 1 or more; 1 or 2 are what it was trained for")
    if steps <= 2:
        return (MOST, MIDDLE)[:steps]
    return tuple(float(size) for size in grid(steps + 1)[:0:-1])


def speak(clean: Callable[[F32, float], F32], noises: Iterable[F32], at: Sequence[float]) -> F32:
    """A latent by one call of the network for each size of noise: `clean(latent, sigma)`. Each step adds its
    own noise to what the one before gave.
    """
    found: F32 | None = None
    for sigma, noise in zip(at, noises, strict=True):
        scaled = np.float32(sigma) * noise
        found = clean(scaled if found is None else found + scaled, sigma)
    assert found is not None
    return found
