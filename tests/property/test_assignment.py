"""An assignment is one, and none is cheaper: beside all there are, beside scipy's, and by its own laws."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.train.regions.assignment import assigned

SIDE = st.integers(0, 5)
TABLES = st.tuples(SIDE, SIDE).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-4, 4).map(float))
)
SEED = st.integers(0, 10**6)


def cost(table: np.ndarray) -> float:
    rows, columns = assigned(table)
    assert list(rows) == sorted(set(rows.tolist()))
    assert len(rows) == len(columns) == len(set(columns.tolist())) == min(table.shape)
    return float(table[rows, columns].sum())


@given(table=TABLES)
def test_none_is_cheaper(table: np.ndarray) -> None:
    """With many costs that are equal."""
    wide = table if table.shape[0] <= table.shape[1] else table.T
    every = permutations(range(wide.shape[1]), wide.shape[0])
    least = min(sum(wide[row, column] for row, column in enumerate(one)) for one in every)
    assert cost(table) == least


@given(seed=SEED, rows=st.integers(1, 12), columns=st.integers(1, 60))
def test_it_costs_what_scipys_does(seed: int, rows: int, columns: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    table = np.random.default_rng(seed).standard_normal((rows, columns)) * 3
    found, want = assigned(table), optimize.linear_sum_assignment(table)
    for got, expected in zip(found, want, strict=True):
        np.testing.assert_array_equal(got, expected)  # of such costs no two are equal


@given(seed=SEED, rows=st.integers(1, 6), columns=st.integers(6, 20))
def test_a_price_on_a_row_moves_nothing(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((rows, columns))
    dearer = table + rng.standard_normal((rows, 1)) * 100
    np.testing.assert_array_equal(assigned(table)[1], assigned(dearer)[1])


def test_far_costs_are_no_trouble() -> None:
    """As transformers writes for what is no number: the largest that float32 has (transformers#47730)."""
    most = float(np.finfo(np.float32).max)
    rows, columns = assigned(np.array([[most, 1.0, most], [most, 0.5, 2.0]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
def test_what_is_no_number_is_refused(bad: float) -> None:
    """Where scipy says that the matrix is infeasible or has invalid entries (RT-DETR#527, ultralytics#4085)."""
    with pytest.raises(ValueError, match="finite"):
        assigned(np.array([[1.0, bad]]))
