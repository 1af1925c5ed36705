"""Laws of what joins sound: pieces that overlap are the whole, joins make no click, nothing is beyond full scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.audio.level import KNEE, fade, gate, joined, limited
from edge.audio.pieces import pieces
from edge.errors import EdgeError


@given(
    frames=st.integers(1, 400),
    begin=st.integers(1, 60),
    reach=st.integers(0, 9),
    room=st.integers(1, 50),
)
def test_each_frame_is_wanted_once(frames: int, begin: int, reach: int, room: int) -> None:
    most = 2 * reach + room
    found = list(pieces(frames, begin=begin, most=most, reach=reach))
    assert [frame for piece in found for frame in range(piece.start, piece.stop)] == list(
        range(frames)
    )
    for piece in found:
        assert 0 < piece.stop - piece.start <= room
        assert piece.last - piece.first <= most
        assert piece.first == max(0, piece.start - reach)
        assert piece.last == min(frames, piece.stop + reach)
    assert found[0].stop == min(begin, room, frames)


def test_pieces_that_hold_nothing_are_refused() -> None:
    for wrong in ({"most": 8, "reach": 4}, {"begin": 0}, {"reach": -1}):
        with pytest.raises(EdgeError, match="pieces of"):
            list(pieces(10, **{"begin": 1, "most": 20, "reach": 2, **wrong}))


@given(st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=50))
def test_what_is_loud_is_bent_and_nothing_else(values: list[float]) -> None:
    samples = np.array(values, np.float32)
    found = limited(samples)
    quiet = np.abs(samples) <= KNEE
    np.testing.assert_array_equal(found[quiet], samples[quiet])
    assert np.abs(found).max() <= 1
    order = np.argsort(samples, kind="stable")
    assert (np.diff(found[order]) >= 0).all()  # what is louder stays louder
    np.testing.assert_array_equal(limited(samples[:3]), found[:3])  # pieces are what the whole is


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(2, 9), st.integers(0, 12))
def test_silence_is_silent_and_comes_slowly(heard: list[bool], hop: int, fading: int) -> None:
    gains = gate(np.array(heard, np.float32), hop, fading)
    assert gains.shape == (len(heard) * hop,)
    frames = gains.reshape(len(heard), hop)
    assert not frames[~np.array(heard)].any()
    fading = min(fading, hop // 2)
    if fading > 1:
        steps = np.abs(np.diff(np.concatenate([[0], gains, [0]])))
        assert steps.max() <= np.pi / 2 / fading + 1e-6  # no step is a click
    else:
        assert ((gains == 0) | (gains > 0.4)).all()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_a_join_of_the_same_is_the_same(first: int, second: int, over: int) -> None:
    over = min(over, first, second)
    whole = np.sin(np.arange(first + second - over, dtype=np.float32))
    found = joined(whole[:first], whole[first - over :], over)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    rise = fade(over)
    np.testing.assert_allclose(rise + rise[::-1], 1, atol=1e-6)
