"""Powers of what inputs are like, by which columns are multiplied: the best of all that are tried."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import awq, rtn
from edge.quant.bounds import most, squares
from edge.quant.inputs import PAIRS, Inputs
from edge.quant.methods import methods
from edge.quant.recipe import parse
from edge.quant.tensor import Scheme
from edge.typing import F32


def test_the_best_power_is_the_best_of_all_tried() -> None:
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.normal(size=64) * 2).astype(np.float32)
    x = (rng.normal(size=(500, 64)) * sizes).astype(np.float32)
    weights = [rng.normal(size=(n, 64)).astype(np.float32) for n in (8, 16)]
    schemes = [parse("awq-int3-g32").body] * 2
    inputs = Inputs.none(64)
    inputs.add(x)
    best, left = awq.scales(weights, schemes, inputs.mean())

    def cost(scale: F32) -> float:
        """From the products themselves, and from those of each column alone, as pairs count less."""
        total = 0.0
        for w, scheme in zip(weights, schemes, strict=True):
            off = rtn.quantize(w * scale, scheme).dequantize() / scale - w
            both = float(np.square(x @ off.T, dtype=np.float64).mean(axis=0).sum())
            each = float(np.square(x[:, None] * off, dtype=np.float64).mean(axis=0).sum())
            total += PAIRS * both + (1 - PAIRS) * each
        return total

    costs = [cost(awq.by_power(np.abs(x).mean(axis=0), power)) for power in awq.POWERS]
    assert cost(best) == pytest.approx(min(costs), rel=1e-3)
    assert left == pytest.approx(min(costs) / costs[0], rel=1e-3)
    assert left < 0.8


@given(st.integers(0, 2**31), st.integers(1, 200), st.sampled_from(awq.POWERS))
@settings(max_examples=40, deadline=None)
def test_a_power_is_about_one(seed: int, columns: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.abs(rng.normal(size=columns) * (rng.random(columns) > 0.2)).astype(np.float32)
    found = awq.by_power(sizes, power)
    assert (found > 0).all()
    assert np.isfinite(found).all()
    assert found.max() * found.min() == pytest.approx(1, rel=1e-3)
    order = np.argsort(sizes, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert (awq.by_power(sizes, 0.0) == 1).all()


@given(st.integers(0, 2**31), st.sampled_from(methods()["awq"].schemes))
@settings(max_examples=40, deadline=None)
def test_a_group_that_is_cut_is_no_farther_in_all(seed: int, scheme: Scheme) -> None:
    weights = np.random.default_rng(seed).standard_t(2, size=(5, 130)).astype(np.float32)
    made, plain = methods()["awq"].quantize(weights, scheme), rtn.quantize(weights, scheme)
    assert squares(made.dequantize() - weights) <= squares(plain.dequantize() - weights) * (
        1 + 1e-5
    )


@given(
    st.integers(0, 2**31),
    st.sampled_from(["int2-g64-min", "int3-g32-asym", "int4-g32", "int2-g32"]),
)
@settings(max_examples=40, deadline=None)
def test_a_cut_by_products_is_no_farther_than_a_proof_allows(seed: int, recipe: str) -> None:
    """And costs no more than not to cut, where inputs go together and few of them are large."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((300, 70)) @ rng.standard_normal((70, 70))
    x *= np.exp(3 * rng.standard_normal(70))
    weights = rng.standard_t(2, (8, 70)).astype(np.float32)
    moments = (x.T @ x / len(x)).astype(np.float32)
    scheme = parse(f"awq-{recipe}").body
    made = awq.calibrated(weights, scheme, moments)
    assert squares(made.dequantize() - weights) <= most(weights, scheme)
    width = scheme.group or 0
    for start in range(0, 70, width):
        part = slice(start, min(start + width, 70))
        costs = [
            np.einsum(
                "nj,jk,nk->n", off[:, part], moments[part, part].astype(np.float64), off[:, part]
            )
            for off in (
                one.dequantize().astype(np.float64) - weights
                for one in (made, rtn.quantize(weights, scheme))
            )
        ]
        assert (costs[0] <= costs[1] * (1 + 1e-4) + 1e-9).all()
