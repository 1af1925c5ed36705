"""Rotary tables against the closed form, and Llama 3's divisors against the published ones."""

import numpy as np
import pytest

from edge.nn.rope import frequencies, tables
from edge.spec import Llama3Scaling, Rope


@pytest.mark.parametrize(("theta", "width"), [(1e4, 8), (1e4, 96), (5e5, 128), (1e6, 64)])
def test_tables_are_the_closed_form(theta: float, width: int) -> None:
    cos, sin = tables(Rope(theta=theta, width=width), 300)
    assert cos.shape == sin.shape == (300, width // 2)
    assert cos.dtype == sin.dtype == np.float32
    angle = np.arange(300)[:, None] * theta ** (-np.arange(0, width, 2) / width)  # in float64
    np.testing.assert_allclose(cos, np.cos(angle), atol=5e-5)
    np.testing.assert_allclose(sin, np.sin(angle), atol=5e-5)


BLENDED = [1.207484, 1.553415, 2.026313, 2.69453, 3.684253, 5.257327]
PUBLISHED = [  # width, factor, divisors as llama.cpp writes them into rope_freqs
    (64, 32.0, [1.0] * 15 + [1.651329, 3.292262, 9.666729] + [32.0] * 14),
    (128, 8.0, [1.0] * 29 + BLENDED + [8.0] * 29),
]


@pytest.mark.parametrize(("width", "factor", "divisors"), PUBLISHED, ids=["3.2-1b", "3.1-8b"])
def test_llama3_divisors_are_the_published_ones(
    width: int, factor: float, divisors: list[float]
) -> None:
    scaling = Llama3Scaling(
        factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    )
    plain = frequencies(Rope(theta=5e5, width=width), 8192)
    scaled = frequencies(Rope(theta=5e5, width=width, scaling=scaling), 8192)
    np.testing.assert_allclose(plain / scaled, divisors, rtol=2e-5)
