"""Double quantization beside a slow way to say it: each scale by itself, from the words of the papers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant.doubled import BLOCK, doubled, levels
from edge.quant.nf4 import LEVELS


def floats() -> list[float]:
    """Dynamic floats of 8 bits (arXiv 2110.02861, section 2.1): a sign, zeros that say the exponent, a one, and the
    bits that are left cut [0.1, 1] into equal parts, of which each number is the middle; and zero and one.
    """
    out = {0.0, 1.0}
    for zeros in range(7):
        left = 6 - zeros
        for part in range(2**left):
            size = 0.9 / 2**left
            value = (0.1 + (part + 0.5) * size) / 10**zeros
            out |= {value, -value}
    return sorted(out)


def test_levels_are_the_published_floats() -> None:
    assert len(levels()) == 256
    assert pytest.approx(floats(), rel=1e-6) == levels().tolist()
    # As bitsandbytes prints its map: the largest below one, the least above zero, the most negative.
    assert pytest.approx([0.99296875, 5.5e-7, -0.99296875]) == [
        levels()[-2],
        levels()[128],
        levels()[0],
    ]


@given(
    st.integers(0, 1 << 32),
    st.integers(0, 3 * BLOCK),
    st.sampled_from([1e-6, 1.0, 1e4]),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_scale_becomes_the_nearest_of_its_block(
    seed: int, count: int, size: float, centred: bool
) -> None:
    rng = np.random.default_rng(seed)
    numbers = (size * rng.standard_normal(count)).astype(np.float32)
    made = doubled(np.abs(numbers) if centred else numbers, centred=centred)
    given_ = np.abs(numbers) if centred else numbers
    mean = float(np.mean(given_.astype(np.float64))) if centred and count else 0.0
    got = made.values()
    assert got.shape == given_.shape
    assert made.codes.shape == (count,)
    assert made.largest.shape == (-(-count // BLOCK),)
    for at, value in enumerate(given_):
        block = given_[at // BLOCK * BLOCK :][:BLOCK].astype(np.float64) - mean
        largest = abs(block).max()
        wanted = min(floats(), key=lambda level: abs(float(value) - mean - level * largest))
        far = abs(float(value) - mean - wanted * largest)
        assert abs(float(got[at]) - float(value)) <= far + 1e-5 * (largest + abs(mean))


@given(st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_the_largest_of_a_block_is_kept(seed: int) -> None:
    numbers = np.random.default_rng(seed).standard_normal((4, 2 * BLOCK // 4)).astype(np.float32)
    made = doubled(numbers, centred=False)
    for block, got in zip(numbers.reshape(2, -1), made.values().reshape(2, -1), strict=True):
        at = int(np.abs(block).argmax())
        if block[at] > 0:  # only one is a level, not minus one
            assert got[at] == block[at]
        assert np.abs(got - block).max() <= 0.01 * np.abs(block).max()


def test_equal_scales_are_their_mean() -> None:
    assert (doubled(np.full((3, 100), 0.375, np.float32)).values() == 0.375).all()
    assert not doubled(np.zeros((2, 5), np.float32)).values().any()


def test_a_weight_of_groups_of_64_takes_4_127_bits() -> None:
    weights, groups = 64 * 256 * 8, 256 * 8
    made = doubled(np.random.default_rng(0).random(groups, np.float32))
    assert 4 + 8 * (made.nbytes - 4) / weights == pytest.approx(4.127, abs=5e-4)
    assert len(LEVELS) == 1 << 4
