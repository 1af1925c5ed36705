"""What is known of a matrix's inputs, beside the same computed in one piece."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.quant.inputs import PAIRS, Inputs


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 30),
)
def test_means_are_those_of_all_rows_and_pairs_count_less(
    seed: int, pieces: list[int], columns: int
) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((rows, columns)).astype(np.float32) for rows in pieces]
    found = Inputs.none(columns)
    for part in parts:
        found.add(part)
    found.mean()
    x = np.concatenate(parts).astype(np.float64)
    both = x.T @ x / len(x)
    wanted = PAIRS * both + (1 - PAIRS) * np.diag(np.diag(both))
    np.testing.assert_allclose(found.products, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.sizes, np.abs(x).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.largest, np.abs(x).max(axis=0), rtol=1e-6)
    assert np.linalg.eigvalsh(found.products.astype(np.float64)).min() >= -1e-4
