"""Ternary weights: what is ternary stays as it is, and of others no three values with one size are nearer, by a slow
search of all that a group could keep.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.quant.recipe import parse
from edge.quant.ternary import quantize

SCHEME = parse("ternary-g32").body


@given(st.integers(0, 2**32 - 1), st.sampled_from(["fp32", "fp16", "bf16"]), st.integers(1, 70))
def test_ternary_weights_stay_as_they_are(seed: int, number: str, columns: int) -> None:
    rng = np.random.default_rng(seed)
    groups = -(-columns // 32)
    scheme = parse(f"ternary-g32{'' if number == 'fp32' else f'-{number}'}").body
    # Sizes that each of the types holds.
    sizes = rng.integers(1, 256, (5, groups)).astype(np.float32) / np.float32(
        2.0 ** rng.integers(4, 9)
    )
    w = rng.integers(-1, 2, (5, columns)) * np.repeat(sizes, 32, axis=1)[:, :columns]
    made = quantize(w.astype(np.float32), scheme)
    assert np.array_equal(made.dequantize(), w)
    assert set(np.unique(made.codes)) <= {1, 2, 3}


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 3.0]))
def test_no_other_three_values_are_nearer(seed: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    w = (
        rng.standard_normal((3, 32)) ** tail
        if tail == 1
        else rng.standard_normal((3, 32)) * rng.random((3, 32)) ** tail
    ).astype(np.float32)
    found = np.square(quantize(w, SCHEME).dequantize() - w, dtype=np.float64).sum(axis=1)
    for row, error in zip(w.astype(np.float64), found, strict=True):
        order = np.argsort(-np.abs(row))
        least = np.inf
        for count in range(33):
            kept = order[:count]
            size = np.abs(row[kept]).mean() if count else 0.0
            tried = np.zeros(32)
            tried[kept] = np.sign(row[kept]) * size
            least = min(least, float(np.square(tried - row).sum()))
        assert error == pytest.approx(least, rel=1e-5, abs=1e-12)


def test_a_group_of_nothing_is_nothing() -> None:
    made = quantize(np.zeros((2, 64), np.float32), SCHEME)
    assert not made.dequantize().any()
