"""Tables of values: each code is an entry of the table that a group of rows shares.

Lloyd's k-means on one dimension (Lloyd 1982), started where a fine quantizer of the values' own
density has its levels: their number grows with the cube root of the density (Panter and Dite 1951).
Values are sorted once; after that an iteration is a few sums, however many values there are. N rows,
K columns, R rows that share a table, E = 2^bits entries.
"""

import numpy as np

from edge.quant.bounds import by_tables
from edge.quant.methods import Method, grid
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32, U8

_ITERATIONS = 30
_BINS = 512


def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes [N, K] and tables [N / R, E]; each value becomes its nearest entry."""
    assert scheme.group is not None
    rows = scheme.group
    tables = np.empty((-(-len(weights) // rows), 1 << scheme.bits), np.float32)
    codes = np.empty(weights.shape, np.uint8)
    for i in range(len(tables)):
        part = slice(i * rows, (i + 1) * rows)
        tables[i] = rounded(table(weights[part].ravel(), 1 << scheme.bits), scheme.number)
        codes[part] = nearest(weights[part], tables[i])
    return QTensor(codes, tables, scheme, weights.shape[1])


def nearest(values: F32, entries: F32) -> U8:
    """The code of the nearest of sorted entries; the lower one in the middle: [...] -> [...]."""
    middles = (entries[1:] + entries[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.uint8)


def table(values: F32, count: int) -> F32:
    """The entries that values are best rounded to, sorted: [n] -> [E]. NaN where a value is none."""
    if not np.isfinite(values).all():
        return np.full(count, np.nan, np.float32)
    values = np.sort(values)
    distinct = values[np.flatnonzero(np.diff(values, prepend=-np.inf))]
    if len(distinct) <= count:
        return np.pad(distinct, (0, count - len(distinct)), mode="edge")
    sums = np.concatenate(([0], np.cumsum(values, dtype=np.float64)))
    entries = start(values, count)
    for _ in range(_ITERATIONS):
        moved = step(values, sums, entries)
        if np.array_equal(moved, entries):
            break
        entries = moved
    return entries


def start(values: F32, count: int) -> F32:
    """Levels at equal steps of the integral of the density's cube root: sorted [n] -> [E]."""
    held, edges = np.histogram(
        values.astype(np.float64), _BINS
    )  # float32 has too few for a short range
    share = np.concatenate(([0], np.cumsum(np.cbrt(held))))
    steps = (np.arange(count) + 0.5) / count * share[-1]
    return np.interp(steps, share, edges).astype(np.float32)


def step(values: F32, sums: "np.ndarray[tuple[int], np.dtype[np.float64]]", entries: F32) -> F32:
    """Each entry moves to the mean of what is nearest to it; one that nothing is near stays.

    `sums`: of all sorted values before each, [n + 1].
    """
    middles = (entries[1:] + entries[:-1]) / 2
    cuts = np.concatenate(([0], np.searchsorted(values, middles, side="right"), [len(values)]))
    counts = np.diff(cuts)
    means = np.diff(sums[cuts]) / np.maximum(counts, 1)
    return np.where(counts > 0, means, entries).astype(np.float32)


METHOD = Method(
    name="kmeans",
    schemes=grid("kmeans", bits=(1, 2, 3, 4, 6, 8), groups=(1, 8, 16, 32, 64), zeros=("table",)),
    quantize=quantize,
    bound=by_tables,
)
