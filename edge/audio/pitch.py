"""How high a voice is, frame by frame, and where there is none: YIN's differences, and a path through its dips.

de Cheveigné & Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 111(4), 2002: the
difference of a frame and itself a lag later, divided by its mean over shorter lags, dips at the period. Of each
frame's deepest dips, and of "no voice", the cheapest path is taken, so that no frame alone jumps an octave (as
in pYIN, ICASSP 2014, with fixed costs in place of probabilities).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.audio.spectra import Framing, frames, loudness
from edge.typing import F32

F64 = NDArray[np.float64]
_CANDIDATES = 4
_OCTAVE = 0.03  # what a pitch costs more that is half as high
_AT_ONCE = 1 << 18  # samples in frames, to bound memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Pitch:
    """low, high: Hz. unvoiced: how deep a dip must be to be a voice. jump: the cost of an octave; change: of a voice's
    beginning or end. silence: of the loudest frame, below which there is no voice.
    """

    low: float = 50.0
    high: float = 600.0
    unvoiced: float = 0.5
    jump: float = 0.4
    change: float = 0.2
    silence: float = 0.01


def pitch(samples: F32, framing: Framing, settings: Pitch = Pitch()) -> F32:
    """[N] -> [T], Hz, 0 where there is no voice."""
    shortest = int(framing.rate / settings.high)
    longest = int(np.ceil(framing.rate / settings.low)) + 1
    length = 3 * longest  # a third of a frame is compared with what lies up to two thirds later
    short = 2 * length - samples.size  # a sound too short to be reflected is silent beyond its ends
    padded = np.pad(samples, (0, max(0, short)))
    framed = frames(padded, framing, length)[: framing.frames(samples.size)]  # [T, length]
    lags, costs = np.empty((0, _CANDIDATES)), np.empty((0, _CANDIDATES))
    rows = max(1, _AT_ONCE // length)
    for start in range(0, framed.shape[0], rows):
        normalised = _normalised(framed[start : start + rows].astype(np.float64), longest)
        lag, cost = _dips(normalised, shortest)
        lags, costs = np.concatenate([lags, lag]), np.concatenate([costs, cost])
    loud = loudness(padded, framing)[: framed.shape[0]]
    costs[loud < max(settings.silence * loud.max(initial=0.0), 1e-5)] = np.inf
    return _path(framing.rate / lags, costs, settings).astype(np.float32)


def _normalised(framed: F64, longest: int) -> F64:
    """[T, 3 * longest] -> [T, longest + 1]: the mean square difference at each lag, over its mean up to there.

    The piece that is compared lies around the middle at every lag: it begins half a lag before it.
    """
    width = framed.shape[1] - longest
    framed = framed - framed.mean(1, keepdims=True)
    size = 1 << int(np.ceil(np.log2(framed.shape[1] + width)))
    head = np.fft.rfft(framed[:, :width], size)
    products = np.fft.irfft(np.conj(head) * np.fft.rfft(framed, size), size)[:, : longest + 1]
    energy = np.concatenate([np.zeros((len(framed), 1)), np.cumsum(framed**2, 1)], 1)
    lags = np.arange(longest + 1)
    later = energy[:, lags + width] - energy[:, lags]
    difference = np.maximum(0, later[:, :1] + later - 2 * products)  # [T, longest + 1]
    sums = np.cumsum(difference[:, 1:], 1)
    out: F64 = np.ones_like(difference)
    np.divide(difference[:, 1:] * lags[1:], sums, out=out[:, 1:], where=sums > 0)
    return out


def _dips(normalised: F64, shortest: int) -> tuple[F64, F64]:
    """[T, L] -> lags and costs of each frame's deepest dips, [T, candidates]; infinite where there are no more."""
    left, here, right = normalised[:, :-2], normalised[:, 1:-1], normalised[:, 2:]
    is_dip = (here < left) & (here <= right)
    is_dip[:, : max(0, shortest - 1)] = False
    # A parabola's lowest point: the period is seldom a whole number of samples.
    bend = np.where(is_dip, left - 2 * here + right, 1.0)
    shift = np.clip((left - right) / (2 * np.maximum(bend, 1e-12)), -0.5, 0.5)
    lags = np.arange(1, here.shape[1] + 1) + shift
    # A voice dips at each multiple of its period, as deeply: the first of them is it.
    cost = here - (left - right) * shift / 4 + _OCTAVE * np.log2(np.maximum(1, lags / shortest))
    cost = np.where(is_dip, cost, np.inf)
    best = np.argsort(cost, 1, kind="stable")[:, :_CANDIDATES]
    rows = np.arange(len(best))[:, None]
    return lags[rows, best], cost[rows, best]


def _path(hertz: F64, costs: F64, settings: Pitch) -> F64:
    """[T, candidates] each -> [T], by the cheapest path (Viterbi) through them and "no voice"."""
    silent = np.full((len(hertz), 1), settings.unvoiced)
    local = np.concatenate([costs, silent], 1)  # [T, candidates + 1]
    octaves = np.concatenate([np.log2(hertz), np.full_like(silent, np.nan)], 1)
    total, back = local[:1].copy(), np.zeros(local.shape, np.int64)
    for t in range(1, len(local)):
        move = settings.jump * np.abs(octaves[t][:, None] - octaves[t - 1])  # [to, from]
        move[-1, :] = move[:, -1] = settings.change
        move[-1, -1] = 0
        whole = total[-1] + move
        back[t] = whole.argmin(1)
        total = np.concatenate([total[-1:], (whole.min(1) + local[t])[None]])
    if not len(local):
        return np.zeros(0)
    chosen = np.empty(len(local), np.int64)
    chosen[-1] = int(total[-1].argmin())
    for t in range(len(local) - 1, 0, -1):
        chosen[t - 1] = back[t, chosen[t]]
    voiced = np.concatenate([hertz, np.zeros_like(silent)], 1)
    out: F64 = voiced[np.arange(len(chosen)), chosen]
    return out
