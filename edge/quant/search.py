"""Steps of groups that are worth more than the widest: a group whose ends are cut a little rounds all the rest
finer. Tried one after another, and kept where the error, of which some columns may count more, is least.

N rows, K columns, J groups.
"""

from dataclasses import dataclass, replace

import numpy as np

from edge.quant import rtn
from edge.quant.bounds import by_cut_steps
from edge.quant.methods import Method, grid
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32, U8, AnyArray

SHARES = tuple(float(share) for share in np.linspace(1.0, 0.6, 17))  # of a group's range
_ROWS = 1 << 20  # weights that are tried at once: what they take stays in a processor's cache


@dataclass(frozen=True, slots=True)
class Steps:
    """What codes of groups mean: code * scale + offset, [N, J] each; of `zeros`, as a QTensor has them."""

    scheme: Scheme
    scales: F32
    offsets: F32
    zeros: U8 | F32 | None

    @classmethod
    def of(cls, made: QTensor) -> "Steps":
        """Those of weights that are rounded already."""
        scales, zeros = made.scales, made.zeros
        if zeros is None:
            offsets = scales * np.float32(-(1 << made.scheme.bits - 1))
        elif made.scheme.zero == "integer":
            offsets = scales * -zeros.astype(np.float32)
        else:
            offsets = zeros.astype(np.float32)
        return cls(made.scheme, scales, offsets, zeros)

    def codes(self, values: F32, inverse: F32, offsets: F32) -> F32:
        """The nearest code of each value, as a float; all of one shape or spread to it."""
        codes: F32 = np.rint((values - offsets) * inverse)
        return np.clip(codes, 0, (1 << self.scheme.bits) - 1, out=codes)


def searched(weights: F32, scheme: Scheme, counts: F32 | None = None) -> QTensor:
    """weights [N, K] -> codes by the best of `SHARES` of each group; `counts` [K]: what the square of an error
    in a column counts; or [K, K]: what the product of two errors of one group does. Never worse than the widest,
    which is tried first.
    """
    parts = max(1, _ROWS // max(1, weights.shape[1]))
    counts = _by_group(counts, scheme, weights.shape[1])
    made = [
        _searched(weights[at : at + parts], scheme, counts) for at in range(0, len(weights), parts)
    ]
    return made[0] if len(made) == 1 else joined(made)


def joined(parts: list[QTensor]) -> QTensor:
    """Rows of one tensor, put together."""
    first = parts[0]
    zeros = None if first.zeros is None else np.concatenate([part.zeros for part in parts])
    seconds = [part.added for part in parts if part.added is not None]
    codes, scales = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "scales")
    )
    added = joined(seconds) if seconds else None
    return replace(first, codes=codes, scales=scales, zeros=zeros, added=added)


def take_rows(made: QTensor, own: QTensor, which: AnyArray) -> None:
    """Put rows of one tensor in the place of another's."""
    made.codes[which], made.scales[which] = own.codes[which], own.scales[which]
    if made.zeros is not None and own.zeros is not None:
        made.zeros[which] = own.zeros[which]


def _by_group(counts: F32 | None, scheme: Scheme, columns: int) -> F32:
    """[J, group], or [J, group, group] of products; what fills a short last group counts nothing."""
    if counts is None:
        counts = np.ones(columns, np.float32)
    width = scheme.width(columns)
    if counts.ndim == 1:
        return np.pad(counts, (0, -columns % width)).reshape(-1, width)
    squares = (counts[at : at + width, at : at + width] for at in range(0, columns, width))
    return np.stack([np.pad(square, (0, width - len(square))) for square in squares])


def _searched(weights: F32, scheme: Scheme, counts: F32) -> QTensor:
    best = rtn.quantize(weights, scheme)
    grouped = rtn.in_groups(weights, scheme)  # [N, J, group]
    least = _error(best, grouped, counts)
    for share in SHARES[1:]:
        tried = _cut(grouped, scheme, np.float32(share), weights.shape[1])
        error = _error(tried, grouped, counts)
        better = error < least
        least = np.where(better, error, least)
        best = _either(better, tried, best)
    return best


def _cut(grouped: F32, scheme: Scheme, share: np.float32, columns: int) -> QTensor:
    """Rounded as `rtn` does, with ends at a share of where they are."""
    low, high = grouped.min(axis=2, keepdims=True), grouped.max(axis=2, keepdims=True)
    if scheme.zero == "minimum":
        middle = (low + high) / 2
        low, high = middle + (low - middle) * share, middle + (high - middle) * share
    else:
        low, high = low * share, high * share
    ends = np.concatenate((low, high), axis=2)  # all that steps depend on
    steps = Steps.of(rtn.quantize(ends.reshape(len(ends), -1), replace(scheme, group=2)))
    inverse, offsets = (part[:, :, None] for part in (rtn.inverse(steps.scales), steps.offsets))
    codes = steps.codes(grouped, inverse, offsets).astype(np.uint8)
    return QTensor(codes.reshape(len(codes), -1), steps.scales, scheme, columns, steps.zeros)


def _error(made: QTensor, grouped: F32, counts: F32) -> F32:
    """Of each group, [N, J]."""
    rows, groups, _ = grouped.shape
    steps = Steps.of(made)
    codes = made.codes.reshape(rows, groups, -1).astype(np.float32)
    off = codes * steps.scales[:, :, None] + steps.offsets[:, :, None] - grouped
    if counts.ndim == 2:
        found: F32 = np.einsum("njg,njg,jg->nj", off, off, counts)
        return found
    by_group = off.transpose(1, 0, 2)  # [J, N, group]
    costs: F32 = np.einsum("jng,jng->nj", by_group @ counts, by_group)
    return costs


def _either(
    which: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]", one: QTensor, other: QTensor
) -> QTensor:
    """The groups of one where `which` says so [N, J], else those of the other."""
    wide = np.repeat(which, one.codes.shape[1] // which.shape[1], axis=1)
    zeros = one.zeros
    if zeros is not None:
        assert other.zeros is not None
        zeros = np.where(which, zeros, other.zeros)
    return QTensor(
        np.where(wide, one.codes, other.codes),
        np.where(which, one.scales, other.scales),
        one.scheme,
        one.columns,
        zeros,
    )


METHOD = Method(
    name="search",
    schemes=grid("search", bits=(2, 3, 4, 5, 6, 8)),
    quantize=searched,
    bound=by_cut_steps,
)
