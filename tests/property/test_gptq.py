"""Methods that know what a matrix multiplies, beside slow ways to do the same, and the laws that they keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import gptq, rtn
from edge.quant.arithmetic import NUMPY
from edge.quant.bounds import most, squares
from edge.quant.methods import methods
from edge.quant.moments import DAMPING
from edge.quant.recipe import parse
from edge.quant.search import SHARES, Steps, searched
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32

RECIPES = ("int4-g32", "int3-g32-asym", "int2-g64-min", "int8-g64-min-fp16", "int2-g32")
CASES = st.tuples(
    st.integers(1, 6), st.integers(1, 150), st.integers(0, 2**31), st.sampled_from(RECIPES)
)


def scheme_of(text: str) -> Scheme:
    return parse(f"gptq-{text}").body


def made_up(rows: int, columns: int, seed: int, *, tokens: int = 300) -> tuple[F32, F32]:
    """Weights [N, K], and means of products of inputs that go together [K, K]."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((max(1, columns // 3), columns))
    x = rng.standard_normal((tokens, len(few))) @ few + rng.standard_normal((tokens, columns)) / 4
    x *= np.exp(rng.standard_normal(columns))
    weights = rng.standard_normal((rows, columns)) * np.exp(rng.standard_normal((rows, 1)))
    return weights.astype(np.float32), (x.T @ x / tokens).astype(np.float32)


def slow(weights: F32, moments: F32, fixed: Steps) -> np.ndarray:
    """The paper's own way: the inverse, column by column, in float64, by the largest diagonal first -> codes."""
    scheme, columns = fixed.scheme, weights.shape[1]
    diagonal = np.diagonal(moments)
    order = np.argsort(-diagonal, kind="stable")
    damped = moments.astype(np.float64)[np.ix_(order, order)]
    damped += np.eye(columns) * DAMPING * diagonal.mean(dtype=np.float64)
    inverse = np.linalg.inv(damped)
    left = weights.astype(np.float64)[:, order]
    codes = np.zeros(weights.shape, np.int64)
    for k in range(columns):
        at = order[k] // scheme.width(columns)
        scale, offset = fixed.scales[:, at], fixed.offsets[:, at]
        steps = np.divide(left[:, k] - offset, scale, out=np.zeros(len(left)), where=scale != 0)
        code = np.clip(np.rint(steps), 0, 2**scheme.bits - 1)
        codes[:, order[k]] = code
        error = (left[:, k] - (code * scale + offset)) / inverse[k, k]
        left[:, k:] -= error[:, None] * inverse[k, k:]
        # Less what is settled: the inverse of what is left.
        inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return codes


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("columns", [32, 64, 130])
def test_gptq_is_the_paper_s(recipe: str, columns: int) -> None:
    weights, moments = made_up(20, columns, seed=columns)
    scheme = scheme_of(recipe)
    plain = searched(weights, scheme, gptq.counts(moments, scheme.bits))
    wanted = slow(weights, moments, Steps.of(plain))
    made = gptq.calibrated(weights, scheme, moments)
    np.testing.assert_array_equal(made.scales, plain.scales)
    differing = (made.codes[:, :columns] != wanted).any(axis=1)
    assert (
        differing.mean() <= 0.1
    )  # float32 may fall to the other side of a tie, and the rest of a row with it
    assert (made.codes[:, :columns] != plain.codes[:, :columns]).any() or scheme.bits == 8


def test_a_column_counts_by_its_inputs_the_more_the_fewer_codes_there_are() -> None:
    moments = np.diag(np.array([4, 0.25, 0, -1e-9], np.float32))
    np.testing.assert_allclose(gptq.counts(moments, 2), [4, 0.25, 0, 0])
    np.testing.assert_allclose(gptq.counts(moments, 4), [2, 0.5, 0, 0])


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_no_row_costs_more_than_rounded_for_itself(case: tuple[int, int, int, str]) -> None:
    rows, columns, seed, recipe = case
    weights, moments = made_up(rows, columns, seed)
    scheme = scheme_of(recipe)
    made = gptq.calibrated(weights, scheme, moments)
    plain = searched(weights, scheme, gptq.counts(moments, scheme.bits))
    assert made.codes.max() < 2**scheme.bits
    assert made.codes.shape == plain.codes.shape
    assert (cost(weights, made, moments) <= cost(weights, plain, moments) * (1 + 1e-4) + 1e-9).all()


def cost(weights: F32, made: QTensor, moments: F32) -> np.ndarray:
    off = (weights - made.dequantize()).astype(np.float64)
    return np.einsum("nj,jk,nk->n", off, moments.astype(np.float64), off)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_text_teaches_costs_far_less(recipe: str) -> None:
    weights, moments = made_up(64, 128, seed=3)
    scheme = scheme_of(recipe)
    made = gptq.calibrated(weights, scheme, moments)
    plain = rtn.quantize(weights, replace(scheme, method="rtn"))
    assert cost(weights, made, moments).sum() < cost(weights, plain, moments).sum() / 4


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_a_searched_group_is_never_worse_than_the_widest(case: tuple[int, int, int, str]) -> None:
    """And the best of all shares, one by one."""
    rows, columns, seed, recipe = case
    weights, moments = made_up(rows, columns, seed)
    scheme, counts = scheme_of(recipe), np.diagonal(moments).copy()
    found = by_group(weights, searched(weights, scheme, counts), counts)
    widest = by_group(weights, rtn.quantize(weights, replace(scheme, method="rtn")), counts)
    assert (found <= widest * (1 + 1e-5) + 1e-12).all()
    every = [widest]
    for share in SHARES[1:]:
        every.append(np.empty_like(widest))
        for j, start in enumerate(range(0, columns, scheme.width(columns))):
            part = weights[:, start : start + scheme.width(columns)]
            for row, values in enumerate(part):
                every[-1][row, j] = least(values, scheme, share, counts[start:][: len(values)])
    np.testing.assert_allclose(found, np.min(every, axis=0), rtol=2e-3, atol=1e-9)


def least(values: F32, scheme: Scheme, share: float, counts: F32) -> float:
    """Of a group whose ends are at a share of where they were: each value at the nearest of all levels."""
    low, high = float(values.min()), float(values.max())
    if len(values) < (scheme.group or 0) and scheme.zero != "minimum":  # filled with zeros
        low, high = min(low, 0), max(high, 0)
    most = 2**scheme.bits - 1
    if scheme.zero == "minimum":
        middle = (low + high) / 2
        low, high = middle + (low - middle) * share, middle + (high - middle) * share
        step = (high - low) / most
        step, low = (float(np.float16(x)) if scheme.number == "fp16" else x for x in (step, low))
        levels = low + step * np.arange(most + 1)
    elif scheme.zero == "integer":
        low, high = min(low * share, 0), max(high * share, 0)
        step = (high - low) / most
        levels = step * (np.arange(most + 1) - (round(-low / step) if step else 0))
    else:
        end = high if high > -low else low
        levels = (np.arange(most + 1) - (most + 1) / 2) * (end * share / -((most + 1) / 2))
    off = np.abs(values[:, None].astype(np.float64) - levels).min(axis=1)
    return float((off**2 * counts).sum())


def by_group(weights: F32, made: QTensor, counts: F32) -> np.ndarray:
    off = (weights - made.dequantize()) ** 2 * counts
    group = made.scheme.width(weights.shape[1])
    return np.add.reduceat(off, range(0, weights.shape[1], group), axis=1)


def test_inputs_that_never_came_or_always_were_the_same_are_no_trouble() -> None:
    weights, moments = made_up(8, 64, seed=5)
    for those in (np.zeros_like(moments), np.ones_like(moments), np.diag(np.arange(64.0))):
        made = gptq.calibrated(weights, scheme_of("int4-g32"), those.astype(np.float32))
        assert np.isfinite(made.dequantize()).all()
        assert squares(made.dequantize() - weights) <= most(weights, made.scheme)
    none = gptq.calibrated(np.zeros_like(weights), scheme_of("int4-g32"), moments)
    assert not none.dequantize().any()


@pytest.mark.parametrize("columns", [64, 700])
@pytest.mark.parametrize("rank", [1, 3, 16])
@pytest.mark.parametrize("large", [1, 1e3, 1e6])
def test_few_inputs_or_one_far_larger_than_all_others(
    columns: int, rank: int, large: float
) -> None:
    """Others' tools end here: a matrix that is not positive definite (AutoGPTQ#708, llm-compressor#142)."""
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(rank, columns)).astype(np.float32)
    x[:, 5] *= np.float32(large)
    moments = (x.T @ x / rank).astype(np.float32)
    weights = rng.normal(size=(8, columns)).astype(np.float32)
    scheme = scheme_of("int4-g32")
    made = gptq.calibrated(weights, scheme, moments)
    plain = searched(weights, scheme, gptq.counts(moments, scheme.bits))
    assert np.isfinite(made.dequantize()).all()
    assert (cost(weights, made, moments) <= cost(weights, plain, moments) * (1 + 1e-3) + 1e-6).all()


@pytest.mark.parametrize("below", [0.05, 0.5, 20, 1e6])
def test_products_that_rounding_left_below_zero(below: float) -> None:
    """As sums in float32 of inputs far apart are: what more damping cannot mend rounds each column for itself."""
    rng = np.random.default_rng(1)
    one = rng.normal(size=48).astype(np.float32)
    moments = np.outer(one, one).astype(np.float32)
    moments -= np.eye(48, dtype=np.float32) * np.float32(below * np.diagonal(moments).mean())
    weights = rng.normal(size=(8, 48)).astype(np.float32)
    made = gptq.calibrated(weights, scheme_of("int4-g32"), moments)
    assert np.isfinite(made.dequantize()).all()
    assert squares(made.dequantize() - weights) <= most(weights, made.scheme)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("seed", range(4))
def test_a_weight_is_not_moved_farther_than_its_bound(recipe: str, seed: int) -> None:
    weights, moments = made_up(32, 128, seed)
    made = gptq.calibrated(weights, scheme_of(recipe), moments)
    assert squares(made.dequantize() - weights) <= most(weights, made.scheme)


def test_without_inputs_all_count_alike() -> None:
    weights, _ = made_up(16, 96, seed=7)
    for recipe in RECIPES:
        scheme = scheme_of(recipe)
        found = methods()["gptq"].quantize(weights, scheme)
        wanted = gptq.calibrated(weights, scheme, np.eye(96, dtype=np.float32))
        np.testing.assert_array_equal(found.scales, wanted.scales)
        # A value in the middle of two codes may become either.
        np.testing.assert_allclose(
            squares(found.dequantize() - weights), squares(wanted.dequantize() - weights), rtol=1e-5
        )


def test_rows_cut_from_codes_are_those_rows() -> None:
    weights, _ = made_up(16, 96, seed=9)
    for recipe in RECIPES:
        made = searched(weights, scheme_of(recipe))
        np.testing.assert_array_equal(made.cut(3, 7).dequantize(), made.dequantize()[3:7])


@settings(max_examples=30)
@given(st.integers(1, 90), st.integers(0, 2**31), st.sampled_from((1, 7, 32, 512)))
def test_a_factor_in_its_own_place_is_that_of_all_at_once(
    columns: int, seed: int, panel: int
) -> None:
    """U U' is the matrix; nothing is below the diagonal."""
    _, moments = made_up(1, columns, seed)
    matrix = moments + np.eye(columns, dtype=np.float32) * moments.diagonal().mean()
    factor = matrix.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge.quant.arithmetic._PANEL", panel)
        NUMPY.factor(factor)
    assert not np.tril(factor, -1).any()
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-4 * matrix.max())
    want = np.linalg.cholesky(matrix.astype(np.float64)[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_allclose(factor, want, atol=1e-4 * np.abs(want).max())
