"""Laws of the rotation that QuIP rounds behind."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rotations import rotation_of

from edge.quant import gptq, quip
from edge.quant.recipe import parse
from edge.quant.rotation import back, matrices, rotated, signs

WIDTHS = (1, 2, 3, 32, 43, 96, 172, 576, 1536, 2048, 3072, 8192, 14336)


@settings(max_examples=40)
@given(st.integers(1, 400), st.integers(0, 1 << 32))
@example(172, 0)
def test_it_is_orthogonal_and_is_undone(columns: int, seed: int) -> None:
    turn = rotation_of(columns)
    np.testing.assert_allclose(turn @ turn.T, np.eye(columns), atol=1e-5)
    x = np.random.default_rng(seed).standard_normal((3, columns)).astype(np.float32)
    np.testing.assert_allclose(rotated(x), x @ turn, atol=1e-4)
    np.testing.assert_allclose(back(rotated(x)), x, atol=1e-5)


@pytest.mark.parametrize("columns", WIDTHS)
def test_it_is_cheap_and_leaves_lengths(columns: int) -> None:
    """K times the sum of its factors, not K squared."""
    sizes = [len(matrix) for matrix in matrices(columns)]
    assert np.prod(sizes, dtype=int) == columns
    assert max(sizes, default=1) <= 128
    x = np.random.default_rng(columns).standard_normal((2, columns)).astype(np.float32)
    np.testing.assert_allclose(
        np.linalg.norm(rotated(x), axis=1), np.linalg.norm(x, axis=1), rtol=1e-5
    )


# Rows for which others have no Hadamard matrix: QuaRot#41 and #44, compressed-tensors#474, SpinQuant#33, PrefixQuant#4.
@pytest.mark.parametrize("columns", [896, 3584, 4864, 13696, 29568])
def test_rows_of_published_models_that_are_no_power_of_two(columns: int) -> None:
    sizes = [len(matrix) for matrix in matrices(columns)]
    assert np.prod(sizes, dtype=int) == columns
    assert sum(sizes) < 400, "far from all of them at once"
    x = np.random.default_rng(columns).standard_normal((2, columns)).astype(np.float32)
    x[:, 5] = 1000
    turned = rotated(x)
    np.testing.assert_allclose(back(turned), x, atol=2e-3)
    assert np.abs(turned).max() < 100


@pytest.mark.parametrize("columns", [64, 576, 2048])
def test_one_large_column_is_spread_over_all(columns: int) -> None:
    x = np.zeros((1, columns), np.float32)
    x[0, 7] = 1
    turned = np.abs(rotated(x))
    assert turned.max() <= 2 / np.sqrt(columns)


def test_signs_are_the_same_everywhere() -> None:
    """What lies on a disk is of these: by `printf "16 columns" | openssl dgst -shake256 -xoflen 2`."""
    bits = f"{0xB730:016b}"
    assert signs(16).tolist() == [-1.0 if bit == "1" else 1.0 for bit in bits]


def test_outliers_cost_less_behind_it() -> None:
    """Some columns of weights that are far larger than the others, and inputs that are not."""
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((40, 256)).astype(np.float32)
    weights[:, rng.choice(256, 6)] *= 30
    plain, turned = parse("gptq-int3-g128").body, parse("quip-int3-g128").body
    moments = np.eye(256, dtype=np.float32)
    lost = [
        float(np.square(made.dequantize() - weights).sum())
        for made in (
            gptq.calibrated(weights, plain, moments),
            quip.calibrated(weights, turned, moments),
        )
    ]
    assert lost[1] < 0.7 * lost[0]
