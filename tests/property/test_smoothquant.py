"""What is large moves into the weights: the paper's own formula, and what it is for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import smoothquant
from edge.quant.inputs import Inputs
from edge.quant.recipe import parse, word

SCHEME = parse("smoothquant-w8a8").body


def heard(x: np.ndarray) -> Inputs:
    inputs = Inputs.none(x.shape[1])
    for part in np.array_split(x, 3):
        inputs.add(part)
    return inputs.mean()


@given(st.integers(0, 2**31), st.integers(1, 90), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_scales_are_the_paper_s(seed: int, columns: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(30, columns)) * np.exp(rng.normal(size=columns))).astype(np.float32)
    weights = [rng.normal(size=(n + 2, columns)).astype(np.float32) for n in range(count)]
    found, left = smoothquant.scales(weights, [SCHEME] * count, heard(x))
    assert left < 1
    for j in range(columns):
        large = max(abs(float(value)) for value in x[:, j])
        heavy = max(abs(float(value)) for w in weights for value in w[:, j])
        np.testing.assert_allclose(found[j], large**0.5 / heavy**0.5, rtol=1e-4)


def test_inputs_that_never_came_are_no_trouble() -> None:
    x = np.zeros((20, 8), np.float32)
    found, _ = smoothquant.scales([np.zeros((3, 8), np.float32)], [SCHEME], heard(x))
    assert np.isfinite(found).all()
    assert (found > 0).all()
    x[:, 2] = 5
    found, _ = smoothquant.scales([np.ones((3, 8), np.float32)], [SCHEME], heard(x))
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_rounded_inputs_cost_less() -> None:
    """Both rounded to int8, a scale for all of a row of inputs: one input is a hundred times all others."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 64)).astype(np.float32)
    x[:, 7] *= 100
    w = rng.normal(size=(16, 64)).astype(np.float32)

    def eight(values: np.ndarray) -> np.ndarray:
        step = np.abs(values).max(axis=1, keepdims=True) / 127
        return np.rint(values / step) * step

    scale, _ = smoothquant.scales([w], [SCHEME], heard(x))
    pure = x @ w.T
    plain = eight(x) @ eight(w).T
    moved = eight(x / scale) @ eight(w * scale).T
    assert np.square(moved - pure).mean() < np.square(plain - pure).mean() / 4


def test_its_name_reads_back() -> None:
    assert word(SCHEME) == "smoothquant-w8a8"
