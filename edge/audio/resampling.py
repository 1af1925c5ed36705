"""Another number of samples a second: a windowed sinc, evaluated where the new samples lie.

The rates' ratio is up / down in lowest terms: new sample n lies at old time n * down / up, so that there are `up`
different filters (phases), each used for every up-th sample. Smith & Gossett, "A flexible sampling-rate conversion
method", ICASSP 1984; Kaiser's window.
"""

from functools import cache, lru_cache
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.typing import F32

F64 = NDArray[np.float64]
_CROSSINGS = 24  # of the sinc's zeros on each side
_BETA = 9.0  # of Kaiser's window: what folds back lies 90 dB below
_EDGE = 0.94  # of half the lower rate, up to which nothing is lost
_AT_ONCE = 1 << 22  # products of a phase, to bound memory


def resampled(samples: F32, old: int, new: int) -> F32:
    """[N] at `old` Hz -> [ceil(N * new / old)] at `new` Hz. Before and after, there is silence."""
    if old == new:
        return samples
    up, down = _ratio(old, new)
    half = _reach(up, down)
    # So many zeros that every window lies inside.
    return _filtered(
        np.pad(samples, (half, half + down)), _length(samples.size, up, down), up, down
    )


class Resampler:
    """The same of sound that comes in pieces: what can be made of those that came is given at once."""

    def __init__(self, old: int, new: int) -> None:
        self._up, self._down = _ratio(old, new)
        self._half = 0 if old == new else _reach(self._up, self._down)
        self._held: F32 = np.zeros(self._half, np.float32)  # from where the next window begins
        self._came = self._made = 0

    def add(self, samples: F32) -> F32:
        """[n] -> [m], the next ones whose windows are whole."""
        self._came += samples.size
        if not self._half:
            return samples
        self._held = np.concatenate([self._held, samples])
        turns = max(0, self._held.size - 2 * self._half) // self._down
        return self._next(turns * self._up, turns * self._down)

    def end(self) -> F32:
        """The rest: after it, there is silence."""
        if not self._half:
            return np.zeros(0, np.float32)
        self._held = np.pad(self._held, (0, self._half + self._down))
        return self._next(_length(self._came, self._up, self._down) - self._made, 0)

    def _next(self, count: int, passed: int) -> F32:
        out = _filtered(self._held, count, self._up, self._down)
        self._held = self._held[passed:]
        self._made += count
        return out


def _ratio(old: int, new: int) -> tuple[int, int]:
    """up, down"""
    if min(old, new) < 1:
        raise EdgeError(f"{old} Hz cannot become {new} Hz", fix="give rates above 0")
    common = gcd(old, new)
    return new // common, old // common


def _length(count: int, up: int, down: int) -> int:
    return -(-count * up // down)


def _filtered(padded: F32, length: int, up: int, down: int) -> F32:
    """The first new samples of old ones with `_reach` before the first and enough after the last: [length]."""
    out: F32 = np.empty(length, np.float32)
    if not length:
        return out
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _reach(up, down) + 1)
    for phase in range(min(up, length)):
        taps = _taps(phase * down % up, up, down)  # [2 * half + 1]
        first = phase * down // up
        mine = windows[first::down][: -(-(length - phase) // up)]
        rows = max(1, _AT_ONCE // taps.size)
        for start in range(0, mine.shape[0], rows):
            part = mine[start : start + rows] @ taps
            out[phase + start * up : phase + (start + part.size) * up : up] = part
    return out


def _reach(up: int, down: int) -> int:
    """Old samples on each side that a new one is made of."""
    return ceil(_CROSSINGS * max(1.0, down / up)) + 1


@lru_cache(maxsize=1024)
def _taps(numerator: int, up: int, down: int) -> F32:
    """The filter of a sample that lies numerator / up after an old one: [2 * reach + 1], its sum is 1."""
    half = _reach(up, down)
    cutoff = _EDGE * min(1.0, up / down)
    at = np.arange(-half, half + 1) - numerator / up  # of the old samples, from the new one
    taps = np.sinc(cutoff * at) * np.interp(np.abs(at) / half, *_window(), right=0.0)
    out: F32 = (taps / taps.sum()).astype(np.float32)
    return out


@cache
def _window() -> tuple[F64, F64]:
    """Kaiser's, from its middle to its end: places, values. So fine that a line between two errs by less than 1e-7."""
    at = np.linspace(0, 1, 1 << 13)
    return at, np.i0(_BETA * np.sqrt(1 - at**2)) / np.i0(_BETA)
