"""Of which share of rows an error is, where networks are proved."""

import numpy as np
import pytest

from edge.prove.logits import outputs_error

ROWS, TOLERANCE = 200, 1e-2


def _made(wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of an oracle, and as many with so many that are far off."""
    want = np.random.default_rng(1).normal(size=(ROWS, 8)).astype(np.float32)
    got = want * np.float32(1 + 1e-4)
    got[:wrong] *= 2
    return got, want


@pytest.mark.parametrize(("share", "wrong"), [(1.0, 1), (0.99, 3), (0.99, 200)])
def test_more_rows_that_are_off_are_found(share: float, wrong: int) -> None:
    got, want = _made(wrong)
    error, bound = outputs_error([got], [want], [want], TOLERANCE, share)
    assert bound == TOLERANCE
    assert error > bound


@pytest.mark.parametrize(("share", "wrong"), [(1.0, 0), (0.99, 0), (0.99, 1)])
def test_fewer_are_left_out(share: float, wrong: int) -> None:
    got, want = _made(wrong)
    error, bound = outputs_error([got], [want], [want], TOLERANCE, share)
    assert 0 < error < bound


def test_of_a_few_rows_the_worst_counts() -> None:
    got, want = (x[:60] for x in _made(1))
    error, bound = outputs_error([got], [want], [want], TOLERANCE, 0.99)
    assert error > bound


def test_of_several_outputs_the_worst_counts() -> None:
    got, want = _made(3)
    error, bound = outputs_error([want, got], [want, want], [want, want], TOLERANCE, 0.99)
    assert error > bound
    assert outputs_error([want, want], [want, want], [want, want], TOLERANCE, 0.99)[0] == 0
