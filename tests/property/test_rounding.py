"""Laws of an int8 cache: no number is off by more than half a step, whatever position turns it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support import config_of, spec_of

from edge.decode.rounding import rounded, steps
from edge.errors import EdgeError
from edge.run.strategy import Strategy
from edge.spec import LayerSpec, cache_bytes

values = st.floats(-1e4, 1e4, width=32)
ROWS = arrays(np.float32, st.tuples(*[st.integers(1, 5)] * 2, st.just(8)), elements=values)


@given(ROWS, st.sampled_from([0, 4, 8]))
def test_a_number_is_off_by_half_a_step(rows: np.ndarray, rotated: int) -> None:
    scales = steps(rows, rotated)
    codes = rounded(rows, scales)
    assert codes.dtype == np.int8
    assert scales.shape == (len(rows), 1, 8)
    off = np.abs(codes * scales - rows)
    assert (off <= 0.5 * scales * (1 + 1e-4)).all()
    assert (np.abs(codes.astype(int)) <= 102).all(), "a quarter of headroom"


@given(ROWS, st.floats(0, 7), st.sampled_from([4, 8]))
def test_a_key_that_is_turned_is_never_clipped(
    rows: np.ndarray, angle: float, rotated: int
) -> None:
    """Scales of one position hold at every other."""
    scales, half = steps(rows, rotated), rotated // 2
    a, b = rows[..., :half], rows[..., half:rotated]
    turned = rows.copy()
    turned[..., :half] = a * np.cos(angle) - b * np.sin(angle)
    turned[..., half:rotated] = b * np.cos(angle) + a * np.sin(angle)
    off = np.abs(rounded(turned, scales) * scales - turned)
    assert (off <= 0.5 * scales * (1 + 1e-4)).all()


def test_what_is_larger_is_clipped() -> None:
    scales = steps(np.ones((1, 1, 2), np.float32), 0)
    assert rounded(np.array([[[9.0, -9.0]]], np.float32), scales).tolist() == [[[127, -128]]]


def test_a_quarter_of_the_bytes() -> None:
    spec = spec_of(config_of("llama"))
    assert isinstance(spec.layers[0], LayerSpec)
    assert cache_bytes(spec, 10) == 2 * 2 * 10 * 2 * 16 * 4, "layers, parts, rows, heads, width"
    assert cache_bytes(spec, (10, 4), number=1) * 4 == cache_bytes(spec, (10, 4))


@pytest.mark.parametrize(
    "wrong",
    [{"layerskip": 1}, {"drafting": "snapkv", "snapkv": None}, {"reference": True}],
    ids=str,
)
def test_strategies_that_an_int8_cache_excludes(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeError):
        Strategy(kv="int8", **wrong)  # type: ignore[arg-type]
