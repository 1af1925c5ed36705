"""Sizes of noise against closed forms."""

import math

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.nn.speech import noise


def test_the_grid_is_even_in_its_seventh_root() -> None:
    for points in (2, 11, 1281):
        found = noise.grid(points)
        assert found[0] == pytest.approx(0.002)
        assert found[-1] == pytest.approx(80)
        roots = found ** (1 / 7)
        np.testing.assert_allclose(
            np.diff(roots), (80 ** (1 / 7) - 0.002 ** (1 / 7)) / (points - 1)
        )
    with pytest.raises(EdgeError, match="a grid of 1"):
        noise.grid(1)


def test_intervals_double_until_there_are_1280() -> None:
    """The paper's 600,000 steps, and the public code's 160,000: eight plateaus."""
    for steps in (600_000, 160_000):
        found = [noise.curriculum(k * steps // 8, steps) for k in range(8)]
        assert found == [10 * 2**k + 1 for k in range(8)]
        assert noise.curriculum(steps // 8 - 1, steps) == 11
        assert noise.curriculum(3 * steps, steps) == 1281
    assert noise.curriculum(0, 150_000, last=160) == 11  # of prosody refinement
    assert noise.curriculum(150_000, 150_000, last=160) == 161
    assert noise.curriculum(5, 1) == 321  # of hardly any steps: no division by zero


def test_intervals_are_drawn_as_a_log_normal_number_falls() -> None:
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.normal(-1.1, 2.0, 400_000))
    counts, _ = np.histogram(drawn, noise.grid(11))
    np.testing.assert_allclose(noise.chances(11), counts / counts.sum(), atol=3e-3)
    assert noise.chances(1281).sum() == pytest.approx(1)


def test_pairs_are_neighbours() -> None:
    low, high = noise.pairs(41, 500, np.random.default_rng(1))
    every = list(noise.grid(41))
    assert all(every.index(b) - every.index(a) == 1 for a, b in zip(low, high, strict=True))


def test_steps_of_speaking() -> None:
    assert noise.sizes(1) == (80.0,)
    assert noise.sizes(2) == (80.0, 2.0)
    assert noise.sizes(4) == pytest.approx(noise.grid(5)[::-1][:-1])
    with pytest.raises(EdgeError, match="0 steps"):
        noise.sizes(0)


def test_each_step_adds_its_own_noise() -> None:
    """Of a clean number that is normal, the best denoiser is known: more steps, the same law."""
    rng, count = np.random.default_rng(2), 20_000
    seen: list[float] = []

    def clean(x: np.ndarray, sigma: float) -> np.ndarray:
        """The flow of dx / dsigma = sigma x / (1 + sigma^2) down to nothing."""
        seen.append(sigma)
        return (x / math.sqrt(1 + sigma**2)).astype(np.float32)

    for steps in (1, 2, 4):
        noises = [rng.standard_normal(count).astype(np.float32) for _ in range(steps)]
        found = noise.speak(clean, noises, noise.sizes(steps))
        assert found.dtype == np.float32
        assert found.std() == pytest.approx(1, abs=0.02)
    assert seen[:3] == [80, 80, 2]
