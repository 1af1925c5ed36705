"""Information calibration beside a slow way to say it: every shift tried on a group, a weight at a time."""

import math
from collections import Counter
from statistics import median, pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quant import icq
from edge.quant import recipe as recipes
from edge.quant.bounds import most, squares
from edge.quant.methods import methods
from edge.quant.nf4 import LEVELS
from edge.quant.tensor import Scheme

ICQ, NF4 = methods()["icq"], methods()["nf4"]


def entropy(group: list[float], shift: float) -> float:
    """Of the nearest levels of what is left of a shift, in nats."""
    size = max(abs(value - shift) for value in group)
    codes = [
        min(range(16), key=lambda i: abs((value - shift) / size - LEVELS[i])) if size else 7
        for value in group
    ]
    shares = [count / len(group) for count in Counter(codes).values()]
    return -sum(share * math.log(share) for share in shares)


def slow(group: list[float]) -> float:
    """The largest entropy that one of the paper's shifts gives."""
    middle, spread = median(group), pstdev(group)
    return max(entropy(group, middle + 0.1 * spread * k / 100) for k in range(-100, 101))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1 << 32), st.integers(1, 90))
def test_no_shift_of_the_papers_tells_more(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    w = (rng.standard_t(4, (1, columns)) + 0.3 * rng.standard_normal()).astype(np.float32)
    made = ICQ.quantize(w, Scheme(4, 32, "shifted", "fp32", "icq"))
    assert made.zeros is not None
    for at in range(0, columns, 32):
        group = [float(value) for value in w[0, at : at + 32]]
        group += [group[-1]] * (32 - len(group))  # what fills a short last one
        found = entropy(group, float(made.zeros[0, at // 32]))
        assert found == pytest.approx(slow(group), abs=0.06)  # a weight between two levels
        reach = 0.1 * pstdev(group) + 1e-6
        assert abs(float(made.zeros[0, at // 32]) - median(group)) <= reach


@pytest.mark.parametrize("number", ["fp32", "fp16", "bf16"])
def test_codes_tell_more_than_without(number: str) -> None:
    """The paper's claim, on weights whose middle is not zero and on those whose is."""
    rng = np.random.default_rng(0)
    for middle in (0.0, 0.4):
        w = (rng.standard_normal((64, 512)) + middle * rng.standard_normal((64, 1))).astype(
            np.float32
        )

        def told(method: str, w: np.ndarray = w) -> float:
            recipe = recipes.parse(f"{method}-g64-{number}").body
            codes = methods()[method].quantize(w, recipe).codes.reshape(-1, 64)
            counts = np.stack([np.bincount(group, minlength=16) for group in codes]) / 64
            return float(-(counts * np.log(np.maximum(counts, 1e-9))).sum(axis=1).mean())

        assert told("icq") > told("nf4") + 0.02


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-40])
def test_groups_of_one_number_are_kept(value: float) -> None:
    """Zeros too, of which others made no number (slime#2256, kernels-community#681); and a last group that is not full,
    into which others read what lay there (bitsandbytes#1884).
    """
    w = np.full((2, 70), value, np.float32)
    for text in ("icq-g64", "icq-g32-fp16", "nf4-g64"):
        scheme = recipes.parse(text).body
        made = methods()[scheme.method].quantize(w, scheme)
        assert np.isfinite(made.scales).all()
        np.testing.assert_allclose(made.dequantize(), w, atol=1e-7, rtol=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1 << 32), st.sampled_from(["icq-g32", "icq-g64-fp16", "icq-g64-bf16"]))
def test_its_bound_holds_and_is_near(seed: int, text: str) -> None:
    rng, scheme = np.random.default_rng(seed), recipes.parse(text).body
    w = (rng.standard_normal((3, 200)) + rng.standard_normal((3, 1))).astype(np.float32)
    error = squares(ICQ.quantize(w, scheme).dequantize() - w)
    assert error <= most(w, scheme) <= 16 * error


def test_a_number_that_is_none_shows_in_the_scales() -> None:
    w = np.ones((1, 64), np.float32)
    w[0, 5] = np.nan
    assert np.isnan(ICQ.quantize(w, recipes.parse("icq").body).scales).any()


def test_rows_are_rounded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are at once."""
    w = np.random.default_rng(1).standard_normal((9, 96), dtype=np.float32)
    scheme = recipes.parse("icq-g32").body
    whole = ICQ.quantize(w, scheme)
    monkeypatch.setattr(icq, "_AT_ONCE", 200)
    np.testing.assert_array_equal(ICQ.quantize(w, scheme).codes, whole.codes)
    np.testing.assert_array_equal(ICQ.quantize(w[4:5], scheme).codes[0], whole.codes[4])


def test_a_number_more_a_group_is_stored() -> None:
    assert recipes.parse("icq").body.group == 64
    assert recipes.parse("icq-g64-fp16").body.nbytes(10, 128) == 10 * 2 * (32 + 2 + 2) + 16 * 2
