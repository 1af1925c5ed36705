"""What rounding by a text computes with, by numpy and by torch: beside the same in double precision."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import gptq
from edge.quant.arithmetic import NUMPY, Arithmetic
from edge.quant.inputs import PAIRS, PANEL
from edge.quant.methods import methods
from edge.quant.moments import Moments
from edge.quant.recipe import parse
from edge.typing import F32

torch = pytest.importorskip("torch")

from edge_runtimes.torch import arithmetic  # noqa: E402 - where there is torch

EVERY: dict[str, Arithmetic] = {
    "numpy": NUMPY,
    "cpu": arithmetic.Arithmetic(torch.device("cpu")),
}
by_each = pytest.mark.parametrize("by", EVERY.values(), ids=EVERY)


def heard(columns: int, rows: int, seed: int) -> F32:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), np.float32)
    return (x * np.exp(rng.standard_normal(columns))).astype(np.float32)


@by_each
@settings(max_examples=20)
@given(
    st.sampled_from((1, 30, PANEL, PANEL + 3)),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
def test_means_are_those_of_all_rows(
    by: Arithmetic, columns: int, pieces: list[int], seed: int
) -> None:
    x = heard(columns, sum(pieces), seed)
    ends = np.cumsum([0, *pieces])
    sums = by.sums(columns)
    others = by.sums(columns)  # of another process: each adds up some panels
    for one, two in pairwise(ends):
        sums.add(x[one:two], range(0, sums.panels, 2))
        others.add(x[one:two], range(1, sums.panels, 2))
    found = sums.means((others if n % 2 else sums).panel(n) for n in range(sums.panels))
    wide = x.astype(np.float64)
    both = wide.T @ wide / len(x)
    wanted = PAIRS * both + (1 - PAIRS) * np.diag(np.diag(both))
    np.testing.assert_allclose(found.products, wanted, rtol=1e-4, atol=1e-5 * both.max())
    np.testing.assert_allclose(found.sizes, np.abs(wide).mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found.largest, np.abs(x).max(axis=0))


@by_each
@settings(max_examples=20)
@given(st.sampled_from((1, 3, 90, PANEL, 2 * PANEL + 5)), st.integers(0, 2**31))
def test_a_factor_in_its_own_place_is_that_in_double_precision(
    by: Arithmetic, columns: int, seed: int
) -> None:
    x = heard(columns, 50, seed)
    matrix = x.T @ x / len(x) + np.eye(columns, dtype=np.float32)
    factor = matrix.copy()
    by.factor(factor)
    assert not np.tril(factor, -1).any()
    want = np.linalg.cholesky(matrix.astype(np.float64)[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_allclose(factor, want, atol=1e-4 * np.abs(want).max())


@by_each
def test_what_has_no_factor_is_said_and_none_is_made_up(by: Arithmetic) -> None:
    """Others' tools end with it (llm-compressor#1069, llm-compressor#966); here more is added to the diagonal."""
    matrix = np.diag(np.array([1, 1, -1, 1], np.float32))
    with pytest.raises(np.linalg.LinAlgError):
        by.factor(matrix)
    one = heard(48, 1, 3)
    moments = one.T @ one - np.eye(48, dtype=np.float32) * np.float32(20)
    made = gptq.calibrated(heard(48, 8, 4), parse("gptq-int4-g32").body, Moments(moments, by))
    assert np.isfinite(made.dequantize()).all()


@by_each
@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 2**31))
def test_costs_are_those_in_double_precision(
    by: Arithmetic, columns: int, rows: int, seed: int
) -> None:
    x, off = heard(columns, 20, seed), heard(columns, rows, seed + 1)
    products = x.T @ x / np.float32(20)
    wanted = np.einsum("nk,kl,nl->n", *(a.astype(np.float64) for a in (off, products, off)))
    np.testing.assert_allclose(by.costs(products)(off), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("recipe", ["gptq-int4-g32", "gptq-int2-g64-min", "quip-int3-g32"])
def test_codes_are_the_same_by_either(recipe: str) -> None:
    """But where a value lies in the middle of two, and what follows from it in its row."""
    x, weights = heard(300, 900, 1), heard(300, 64, 2)
    scheme = parse(recipe).body
    moments = (x.T @ x / np.float32(len(x))).astype(np.float32)
    calibrated = methods()[scheme.method].calibrated
    assert calibrated is not None
    one, other = (calibrated(weights, scheme, Moments(moments, by)) for by in EVERY.values())
    assert (one.codes == other.codes).mean() >= 0.999
    assert not np.array_equal(one.codes, methods()[scheme.method].quantize(weights, scheme).codes)


def test_what_may_only_be_read_is_no_trouble() -> None:
    """torch warns of such an array, and would write into it."""
    x = heard(40, 9, 5)
    x.setflags(write=False)
    sums = EVERY["cpu"].sums(40)
    sums.add(x)
    np.testing.assert_allclose(sums.panel(0), x.T @ x, rtol=1e-5, atol=1e-5)


def test_threads_that_torch_had_change_no_bit() -> None:
    x, by = heard(600, 300, 6), EVERY["cpu"]
    every, before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            sums = by.sums(600)
            sums.add(x)
            matrix = sums.panel(0)[:, :256] + np.eye(256, dtype=np.float32)
            factor = matrix.copy()
            by.factor(factor)
            every.append((matrix, factor, by.costs(matrix)(x[:, :256])))
        finally:
            torch.set_num_threads(before)
    for found in every[1:]:
        for one, other in zip(every[0], found, strict=True):
            np.testing.assert_array_equal(one, other)
