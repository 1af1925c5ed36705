"""How far a stored weight may be from its source: by scheme, from the source's own floats alone.

What a method rounds to is not asked: a group's range and its number of codes fix a step, and an error is
at most half of one, or one where a code is missing at the end. Tables and the types of ggml's own library
have a share of the weights themselves instead. N rows, K columns, J groups.
"""

from collections.abc import Mapping

import numpy as np

from edge.quant.methods import methods
from edge.quant.tensor import Float, Scheme
from edge.typing import F32, AnyArray

FULL = 0.95  # of a weight's own size: an error as large leaves nothing of it, whatever its recipe
# What a number is rounded by, and the least that it is: relative, and absolute.
_UNITS: Mapping[Float, float] = {"fp32": 0.0, "fp16": 2.0**-11, "bf16": 2.0**-9}
_LEAST: Mapping[Float, float] = {"fp32": 2.0**-126, "fp16": 2.0**-24, "bf16": 2.0**-126}
_FEW = 16  # values an entry
_NOISE = 2.0**-21  # of products in float32
# Errors of ggml's own types on a normal distribution, relative, with importances or without.
LIBRARY: Mapping[str, float] = {
    "q2_k": 0.312, "q3_k": 0.161, "q4_k": 0.078, "q5_k": 0.038, "q6_k": 0.0193, "iq1_s": 0.565,
    "iq1_m": 0.584, "iq2_xxs": 0.453, "iq2_xs": 0.372, "iq2_s": 0.292, "iq3_xxs": 0.243,
    "iq3_s": 0.166, "iq4_nl": 0.081, "iq4_xs": 0.081, "tq1_0": 0.809, "tq2_0": 0.809,
    "mxfp4": 0.114, "nvfp4": 0.103, "q1_0": 0.600, "q2_0": 0.720,
}  # fmt: skip
_TAILS = (
    1.5  # weights have longer tails than a normal distribution, and importances move errors about
)


def most(weights: F32, scheme: Scheme) -> float:
    """What the squares of the errors of rows [N, K] may sum to."""
    if scheme.is_float:
        return _share(weights, _UNITS[scheme.number])
    if scheme.block_bytes:
        return _share(weights, _TAILS * LIBRARY[scheme.method])
    return methods()[scheme.method].bound(weights, scheme)


def squares(values: AnyArray) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def by_tables(weights: F32, scheme: Scheme) -> float:
    """Twice the error of the best table of a normal distribution (Panter and Dite 1951); or, where tails
    are longer, half of equal steps, and a whole one where entries have few values to settle among. All
    are no farther than from zero.
    """
    entries = 1 << scheme.bits
    best = (np.sqrt(3) * np.pi / 2) ** 0.5 / entries
    step = float(np.ptp(weights)) / entries * (1 if weights.size < _FEW * entries else 0.5)
    share = _share(weights, 2 * best + _UNITS[scheme.number])
    return min(max(share, step**2 * weights.size), squares(weights))


def by_steps(weights: F32, scheme: Scheme) -> float:
    """Half a step each, a whole one at an end that no code reaches."""
    return float(_by_steps(weights, scheme).sum())


def _by_steps(weights: F32, scheme: Scheme) -> AnyArray:
    """Of each row, [N]."""
    width = scheme.width(weights.shape[1])
    grouped = _grouped(weights, width)
    low, high = (part.astype(np.float64) for part in (grouped.min(axis=2), grouped.max(axis=2)))
    size = np.maximum(high, -low)  # [N, J]
    if scheme.zero == "middle":
        step = size / (1 << (scheme.bits - 1))
        low, high = step - size, size - step
    else:
        if scheme.zero == "integer":
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        step = (high - low) / ((1 << scheme.bits) - 1)
    slack = (2 * _UNITS[scheme.number] + _NOISE) * size + _LEAST[scheme.number] * (1 << scheme.bits)
    half, whole = step * 0.505 + slack, step * 1.01 + slack
    reach = step / 2 if scheme.zero == "middle" else -step / 2
    above, below = (ends.astype(np.float32)[:, :, None] for ends in (high + reach, low - reach))
    beyond = (grouped > above) | (grouped < below)
    ends = beyond.sum(axis=2) if scheme.zero != "minimum" else 0
    return (width * half**2 + ends * (whole**2 - half**2)).sum(axis=1)


def by_cut_steps(weights: F32, scheme: Scheme) -> float:
    """Of methods that cut a group where all of it is nearer then: no more in all, though its ends are farther."""
    return by_steps(weights, scheme)


def by_more_steps(weights: F32, scheme: Scheme) -> float:
    """Of methods that round a weight away from where it is, to make good what others' rounding did: twice as
    far.
    """
    return 4 * by_steps(weights, scheme)


def by_size(weights: F32, scheme: Scheme) -> float:
    """A bit says little of a weight: it is no farther than from zero."""
    return squares(weights)


def too_far(weights: F32, made: F32, own: F32, most: float) -> AnyArray:
    """Which rows of some that a text made, [N, K], to give up for what they are by themselves, so that the squares
    of all their errors sum to less than `most`, and to less than a proof takes for another matrix: the fewest.
    """
    errors, others = (
        np.square(weights - each, dtype=np.float64).sum(axis=1) for each in (made, own)
    )
    gained = errors - others
    order = np.argsort(-gained)
    left = errors.sum() - np.cumsum(gained[order]) + gained[order]  # before each is given up
    out = np.zeros(len(weights), bool)
    out[order[left > 0.99 * min(most, FULL**2 * squares(weights))]] = True
    return out & (gained > 0)


def by_levels(weights: F32, scheme: Scheme) -> float:
    """Half of the gap between the levels on both sides of each weight, where a group's largest is at the
    largest level.
    """
    assert scheme.group is not None
    levels = np.array(methods()[scheme.method].levels)
    most = float(np.abs(levels).max())
    grouped = _grouped(weights, scheme.group).astype(np.float64)
    size = np.abs(grouped).max(axis=2, keepdims=True)  # [N, J, 1]
    place = grouped * most / np.where(size, size, 1)
    above = np.clip(np.searchsorted(levels, place), 1, len(levels) - 1)
    half = (levels[above] - levels[above - 1]) / 2
    # A level past which there is none is farther off than half a gap.
    half = np.maximum(half, np.abs(place - np.clip(place, levels[0], levels[-1])))
    slack = (4 * _UNITS[scheme.number] + _NOISE) * size + _LEAST[scheme.number] * most
    return squares(half * size / most * 1.01 + slack)


def by_shifted_levels(weights: F32, scheme: Scheme) -> float:
    """The same of groups that are shifted by anything within a tenth of their standard deviation from their median:
    the farther of what both ends allow.
    """
    assert scheme.group is not None
    levels = np.array(methods()[scheme.method].levels)
    grouped = _grouped(weights, scheme.group).astype(np.float64)
    middle = np.median(grouped, axis=2, keepdims=True)
    unit = _UNITS[scheme.number]
    reach = 0.1 * grouped.std(axis=2, keepdims=True) + unit * np.abs(middle) * 1.01
    reach += _LEAST[scheme.number]
    off = np.zeros_like(grouped)
    for end in (middle - reach, middle + reach):
        apart = grouped - end
        size = np.abs(apart).max(axis=2, keepdims=True)
        place = np.clip(apart / np.where(size, size, 1), levels[0], levels[-1])
        above = np.clip(np.searchsorted(levels, place), 1, len(levels) - 1)
        slack = (4 * unit + _NOISE) * size + _NOISE * np.abs(end) + 2 * _LEAST[scheme.number]
        half = (levels[above] - levels[above - 1]) / 2
        off = np.maximum(off, half * size * 1.01 + slack)
    return squares(off)


def _share(weights: F32, of: float) -> float:
    return of**2 * squares(weights)


def _grouped(weights: F32, group: int) -> F32:
    """[N, K] -> [N, J, group], what is missing of the last one as its last value."""
    padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % group)), mode="edge")
    return padded.reshape(len(weights), -1, group)
