"""Laws of polishing: what is right stays, what is wrong comes nearer, pieces are the whole, nothing explodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.audio.polish import polished, reach
from edge.audio.spectra import MELS, log_mel
from edge.typing import F32

MEL = MELS["edge"]
HOP = MEL.framing.hop


def voice(count: int, seed: int) -> F32:
    """A buzz that rises, and some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(count * HOP) / 16_000
    turns = 2 * np.pi * np.cumsum(110 + 60 * time) / 16_000
    buzz = sum(np.sin(k * turns + k) / k for k in range(1, 12))
    return (0.1 * buzz + 0.01 * rng.standard_normal(time.size)).astype(np.float32)


def off(samples: F32, bands: F32) -> float:
    return float(np.abs(log_mel(samples, MEL) - bands).mean())


@given(st.integers(3, 40), st.integers(0, 5), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_what_is_right_stays(count: int, rounds: int, seed: int) -> None:
    sound = voice(count, seed)
    found = polished(sound, log_mel(sound, MEL), MEL, rounds)
    inner = slice(2 * HOP, -2 * HOP or None)
    np.testing.assert_allclose(found[inner], sound[inner], atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_wrong_comes_nearer(seed: int) -> None:
    """Phases that do not fit, and bands that are too loud or too soft."""
    sound = voice(60, seed)
    bands = log_mel(sound, MEL)
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(sound)
    wrong = spectrum * np.exp(1j * rng.normal(0, 0.8, spectrum.size) + rng.normal(0, 0.3))
    begun = np.fft.irfft(wrong, sound.size).astype(np.float32)
    errors = [off(polished(begun, bands, MEL, rounds), bands) for rounds in (0, 1, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


@given(st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_pieces_with_enough_around_them_are_the_whole(rounds: int, seed: int) -> None:
    sound, around = voice(100, seed), reach(MEL, rounds)
    bands = log_mel(voice(100, seed + 1), MEL)
    whole = polished(sound, bands, MEL, rounds)
    first, last = 45 - around, 55 + around
    piece = polished(sound[first * HOP : last * HOP], bands[first:last], MEL, rounds)
    got = piece[around * HOP : (around + 10) * HOP]
    np.testing.assert_allclose(got, whole[45 * HOP : 55 * HOP], atol=1e-4)


@pytest.mark.parametrize("rounds", [1, 8])
def test_whatever_is_wanted_nothing_explodes(rounds: int) -> None:
    silence, sound = np.zeros(20 * HOP, np.float32), voice(20, 0)
    floor = np.full((20, MEL.bands), np.log(MEL.floor), np.float32)
    for samples in (silence, sound):
        for bands in (floor, floor + 30, log_mel(sound, MEL)):
            found = polished(samples, bands, MEL, rounds)
            assert found.dtype == np.float32
            assert np.isfinite(found).all()
    assert not polished(silence, floor, MEL, rounds).any()
    assert np.abs(polished(sound, floor, MEL, 8)).max() < np.abs(sound).max()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_sound_is_as_long_as_it_was(count: int) -> None:
    sound = voice(count, 0)
    bands = np.zeros((count, MEL.bands), np.float32)
    assert polished(sound, bands, MEL, 2).size == sound.size
    assert polished(sound, bands, MEL, 0) is sound
