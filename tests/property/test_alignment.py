"""Alignment: the best of all paths, as trying every one finds it; and durations that add up, whatever times say."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.audio.alignment import BLANK, aligned, rounded, spread
from edge.errors import EdgeError


def scores(seed: int, frames: int, sounds: int) -> np.ndarray:
    logits = np.random.default_rng(seed).standard_normal((frames, sounds)) * 3
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def every_path(log_probs: np.ndarray, sounds: list[int]) -> float:
    """The most of all ways to give each sound some frames in a row, and the rest to silence."""
    frames, best = len(log_probs), -np.inf
    for cuts in combinations(range(frames + 2 * len(sounds)), 2 * len(sounds)):
        edges = [cut - at for at, cut in enumerate(cuts)]  # begin, end, begin, end, … in order
        begins, ends = edges[::2], edges[1::2]
        if any(begin >= end for begin, end in zip(begins, ends, strict=True)):
            continue
        heard = np.full(frames, BLANK)
        for sound, begin, end in zip(sounds, begins, ends, strict=True):
            heard[begin:end] = sound
        best = max(best, log_probs[np.arange(frames), heard].astype(np.float64).sum())
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.lists(st.integers(1, 4), min_size=1, max_size=3)
)
def test_is_the_best_of_all_paths(seed: int, frames: int, sounds: list[int]) -> None:
    log_probs = scores(seed, frames, 5)
    if len(sounds) > frames:
        with pytest.raises(EdgeError, match="do not fit"):
            aligned(log_probs, sounds)
        return
    found = aligned(log_probs, sounds)
    assert found.fit * frames == pytest.approx(every_path(log_probs, sounds), abs=1e-5)
    heard = np.full(frames, BLANK)
    for sound, begin, end in zip(sounds, found.begin, found.end, strict=True):
        assert begin < end
        assert not heard[begin:end].any()
        heard[begin:end] = sound
    own = log_probs[np.arange(frames), heard].astype(np.float64).sum()
    assert own == pytest.approx(found.fit * frames, abs=1e-5)
    assert list(found.begin[1:]) == sorted(found.begin[1:])


@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=1, max_size=8), st.integers(8, 20))
def test_silence_goes_to_marks_and_all_frames_to_someone(
    seed: int, silent: list[bool], frames: int
) -> None:
    sounds = [1 + number % 3 for number, quiet in enumerate(silent) if not quiet]
    if not sounds:
        return
    found = aligned(scores(seed, frames, 5), sounds)
    lasting = spread(found, silent, frames)
    assert lasting.sum() == frames
    assert lasting.min() >= 0
    starts = np.cumsum(lasting) - lasting
    at = 0
    for number, quiet in enumerate(silent):
        if not quiet:
            assert lasting[number] >= 1
            if number:  # what comes first takes what is before it
                assert starts[number] == found.begin[at]
            if number + 1 < len(silent) and silent[number + 1]:
                assert starts[number] + lasting[number] == found.end[at]
            at += 1


def test_a_pause_is_the_mark_that_stands_there() -> None:
    """Also before the first word (Montreal-Forced-Aligner#386) and after the last (ctc-forced-aligner#42)."""
    log_probs = np.full((9, 3), -9.0, np.float32)
    for frame, sound in enumerate([0, 0, 1, 1, 0, 0, 2, 2, 0]):
        log_probs[frame, sound] = 0
    found = aligned(log_probs, [1, 2])
    assert spread(found, [True, False, True, False, True], 9).tolist() == [2, 2, 2, 2, 1]
    assert spread(found, [True, False, False, True], 9).tolist() == [2, 4, 2, 1]
    assert spread(found, [False, False], 9).tolist() == [6, 3]


def test_sounds_that_follow_themselves_need_nothing_between() -> None:
    """Elsewhere a blank, for which there is no room (ctc-forced-aligner#59, espnet#6790)."""
    log_probs = np.log(np.full((4, 2), 0.5, np.float32))
    found = aligned(log_probs, [1, 1, 1, 1])
    assert (found.end - found.begin).tolist() == [1, 1, 1, 1]


def test_the_last_sound_is_as_long_as_any() -> None:
    """It was one frame elsewhere (pytorch/audio#3439)."""
    log_probs = np.full((8, 3), -9.0, np.float32)
    for frame, sound in enumerate([1, 1, 1, 2, 2, 2, 2, 2]):
        log_probs[frame, sound] = 0
    found = aligned(log_probs, [1, 2])
    assert (found.begin.tolist(), found.end.tolist()) == ([0, 3], [3, 8])
    assert found.fit == 0


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 30)), min_size=1, max_size=12),
    st.integers(1, 30),
)
def test_rounded_times_add_up(rows: list[tuple[bool, float]], frames: int) -> None:
    """To the frames of the sound and of its pitch (TensorFlowTTS#203, espnet#4521, Montreal-Forced-Aligner#570)."""
    silent = [quiet for quiet, _ in rows]
    ends = np.cumsum([length for _, length in rows]).tolist()
    if silent.count(False) > frames:
        with pytest.raises(EdgeError, match="do not fit"):
            rounded(ends, silent, frames)
        return
    lasting = rounded(ends, silent, frames)
    assert lasting.sum() == frames
    assert all(n >= (not quiet) for n, quiet in zip(lasting, silent, strict=True))


def test_rounded_times_are_the_nearest_frames() -> None:
    assert rounded([1.4, 3.6, 3.7, 7.9], [True, False, True, False], 8).tolist() == [1, 3, 0, 4]
