"""Laws of weights that are sums of two: PB-LLM, BiLLM and DB-LLM."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import billm, dbllm, rtn
from edge.quant.gptq import cost
from edge.quant.methods import methods
from edge.quant.recipe import parse, word
from edge.quant.sums import Two
from edge.quant.tensor import FP32, QTensor, Scheme

RECIPES = ("billm-int1-g32", "dbllm-int2-g64-fp16", "pbllm-int2-g32", "pbllm-int1-g64-bf16")
seeds = st.integers(0, 1 << 32)


def drawn(seed: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights with long tails, and means of products of inputs that have to do with each other."""
    rng = np.random.default_rng(seed)
    weights = (0.02 * rng.standard_t(5, (rows, columns))).astype(np.float32)
    mixed = rng.standard_normal((columns, columns)) / np.sqrt(columns) + np.eye(columns)
    inputs = (
        rng.standard_normal((3 * columns, columns)) @ mixed * np.exp(rng.normal(0, 0.7, columns))
    )
    return weights, (inputs.T @ inputs / len(inputs)).astype(np.float32)


def made(recipe: str, weights: np.ndarray, moments: np.ndarray | None) -> QTensor:
    scheme = parse(recipe).body
    method = methods()[scheme.method]
    if moments is None:
        return method.quantize(weights, scheme)
    assert method.calibrated is not None
    return method.calibrated(weights, scheme, moments)


@settings(max_examples=25)
@given(st.sampled_from(RECIPES), seeds, st.integers(1, 9), st.sampled_from((32, 96, 160)))
def test_a_row_costs_no_more_than_by_itself(
    recipe: str, seed: int, rows: int, columns: int
) -> None:
    """But for what is rounded by other columns' order; and its rows are those of the whole."""
    weights, moments = drawn(seed, rows, columns)
    whole = made(recipe, weights, moments)
    alike = np.diag(np.diagonal(moments))  # the same order, and nothing to hand on
    alone = made(recipe, weights, alike)
    assert (cost(weights, whole, moments) <= cost(weights, alone, moments) * 1.001 + 1e-9).all()
    values = whole.dequantize()
    assert values.shape == weights.shape
    np.testing.assert_array_equal(whole.cut(0, 1).dequantize(), values[:1])


@settings(max_examples=25)
@given(st.sampled_from(RECIPES), seeds, st.sampled_from((32, 96, 160)))
def test_both_terms_are_ordinary_codes_whose_bytes_are_counted(
    recipe: str, seed: int, columns: int
) -> None:
    weights, moments = drawn(seed, 5, columns)
    scheme = parse(recipe).body
    whole = made(recipe, weights, moments)
    first, second = whole.terms
    assert (first.scheme, second.scheme) == scheme.terms
    assert first.codes.max() <= 1
    assert second.columns == scheme.added(columns)
    total = first.dequantize()
    total[:, : second.columns] += second.dequantize()
    order = np.arange(columns) if whole.order is None else whole.order
    np.testing.assert_array_equal(np.sort(order), np.arange(columns))
    np.testing.assert_array_equal(whole.dequantize()[:, order], total)
    if columns % (scheme.group or 1) == 0:
        parts = sum(term.scheme.nbytes(5, term.columns) for term in whole.terms)
        assert scheme.nbytes(5, columns) == parts + (4 * columns if scheme.ordered else 0)


def test_salient_columns_are_those_with_the_largest_inputs() -> None:
    """Of 224 columns 32, one of seven: they are nearly exact, and the others a number with a sign."""
    weights, _ = drawn(1, 6, 224)
    sizes = np.ones(224, np.float32)
    chosen = np.random.default_rng(0).choice(224, 32, replace=False)
    sizes[chosen] = 9
    whole = made("pbllm-int2-g32", weights, np.diag(sizes))
    values = whole.dequantize()
    assert set(np.asarray(whole.order)[:32]) == set(chosen)
    np.testing.assert_allclose(values[:, chosen], weights[:, chosen], atol=1e-3)
    others = np.asarray(whole.order)[32:64]  # a group of the first term alone
    size = np.abs(weights[:, others]).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        values[:, others], np.where(weights[:, others] >= 0, size, -size), rtol=1e-5
    )


def levels_error(block: np.ndarray, two: Two) -> np.ndarray:
    """Squares of what each row's nearest levels are off by."""
    off = np.abs(two.levels[:, None].astype(np.float64) - block)
    return np.square(off.min(axis=0)).sum(axis=0)


@settings(max_examples=40)
@given(seeds, st.integers(1, 40))
def test_billm_splits_where_it_is_best(seed: int, count: int) -> None:
    """As the slow way finds it: every break between two magnitudes, and the means of both sides."""
    block = np.random.default_rng(seed).standard_t(4, (count, 3)).astype(np.float32)
    found = levels_error(block, billm.fix(block))
    for row in range(3):
        sizes = np.sort(np.abs(block[:, row].astype(np.float64)))
        tried = [
            sum(
                float(np.square(part - part.mean()).sum())
                for part in np.split(sizes, [at])
                if part.size
            )
            for at in range(1, count + 1)
        ]
        assert found[row] == pytest.approx(min(tried), rel=1e-4, abs=1e-9)


@settings(max_examples=40)
@given(seeds, st.integers(2, 64))
def test_billm_is_never_worse_than_two_signs_in_turn(seed: int, count: int) -> None:
    """Residual binarization, the paper's way for salient columns."""
    block = np.random.default_rng(seed).standard_t(4, (count, 4)).astype(np.float32)
    first = np.abs(block).mean(axis=0) * np.where(block >= 0, 1, -1)
    left = block - first
    second = np.abs(left).mean(axis=0) * np.where(left >= 0, 1, -1)
    residual = np.square(left - second).sum(axis=0, dtype=np.float64)
    assert (levels_error(block, billm.fix(block)) <= residual * 1.0001 + 1e-9).all()


@settings(max_examples=40)
@given(seeds, st.integers(2, 64))
def test_dbllm_is_no_farther_than_the_codes_of_two_bits_that_it_begins_with(
    seed: int, count: int
) -> None:
    block = np.random.default_rng(seed).standard_t(4, (count, 4)).astype(np.float32)
    scheme = Scheme(2, count)
    plain = np.ascontiguousarray(block.T)
    off = plain - rtn.quantize(plain, scheme).dequantize()
    assert (levels_error(block, dbllm.fix(block)) <= np.square(off).sum(axis=1) * 1.01 + 1e-9).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_read_as_they_are_written(recipe: str) -> None:
    found = parse(recipe)
    assert parse(word(found.body)) == found
    assert (found.embed.bits, found.head.bits, found.head.number) == (8, 8, found.body.number)
    assert parse(recipe, embed="fp32", head="fp32").head == FP32


@pytest.mark.parametrize("recipe", RECIPES)
def test_zeros_and_one_column_are_no_trouble(recipe: str) -> None:
    for columns in (1, 31, 64):
        zeros = np.zeros((3, columns), np.float32)
        np.testing.assert_array_equal(made(recipe, zeros, None).dequantize(), zeros)
        same = made(recipe, zeros + np.float32(0.5), np.zeros((columns, columns), np.float32))
        np.testing.assert_allclose(same.dequantize(), zeros + np.float32(0.5), rtol=0.01)
