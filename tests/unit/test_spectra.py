"""Mel bands against a slow DFT and transformers; pitch against tones whose pitch is known."""

import numpy as np
import pytest

from edge.audio.pitch import pitch
from edge.audio.prompts import Prompting, as_prompt
from edge.audio.sound import Sound
from edge.audio.spectra import MELS, Framing, Mel, filter_bank, log_mel, loudness
from edge.errors import EdgeError

RNG = np.random.default_rng(1)
RATE = 16_000


def slow(samples: np.ndarray, mel: Mel) -> np.ndarray:
    """By the definition: a sum over samples for each frame and bin, a loop over frames."""
    w, hop, n = mel.framing.window, mel.framing.hop, mel.transform
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / w) for i in range(w)])
    bins = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
    center = mel.framing.padding == "center"
    rows = []
    for t in range(len(samples) // hop + center):
        middle = t * hop if center else t * hop + hop // 2
        at = [abs(middle - n // 2 + i) for i in range(n)]
        piece = np.array(
            [samples[2 * (len(samples) - 1) - i if i >= len(samples) else i] for i in at]
        )
        window = np.zeros(n)
        window[(n - w) // 2 : (n - w) // 2 + w] = hann
        rows.append(np.abs(bins @ (piece * window)) ** mel.power)
    return np.log(np.maximum(np.array(rows) @ filter_bank(mel), mel.floor))


@pytest.mark.parametrize("name", MELS)
@pytest.mark.parametrize("length", [2000, 2199])
def test_mel_bands_are_those_of_the_definition(name: str, length: int) -> None:
    samples = RNG.standard_normal(length).astype(np.float32)
    got = log_mel(samples, MELS[name])
    want = slow(samples.astype(np.float64), MELS[name])
    assert got.shape == (MELS[name].framing.frames(length), MELS[name].bands)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("area", [False, True])
def test_filters_are_those_of_transformers(scale: str, area: bool) -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    mel = Mel(scale=scale, area=area, low=40.0, high=7600.0)  # type: ignore[arg-type]
    want = audio.mel_filter_bank(
        513, 80, 40.0, 7600.0, RATE, norm="slaney" if area else None, mel_scale=scale
    )
    np.testing.assert_allclose(filter_bank(mel), want, atol=1e-12)


def test_spectra_are_those_of_transformers() -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    mel = MELS["vocos-24k"]
    samples = RNG.standard_normal(9000).astype(np.float32)
    want = audio.spectrogram(
        samples,
        audio.window_function(1024, "hann"),
        frame_length=1024,
        hop_length=256,
        power=1.0,
        mel_filters=filter_bank(mel),
        mel_floor=1e-7,
        log_mel="log",
    )
    np.testing.assert_allclose(log_mel(samples, mel), want.T, atol=1e-4)


def test_eighty_frames_a_second() -> None:
    framing = Framing()
    assert framing.per_second == 80
    assert log_mel(np.zeros(RATE, np.float32), Mel()).shape == (80, 80)
    np.testing.assert_allclose(
        loudness(np.full(RATE, 0.5, np.float32), framing), np.full(80, 0.5), rtol=1e-5
    )
    tone = np.sin(2 * np.pi * 400 * np.arange(RATE) / RATE).astype(np.float32)
    np.testing.assert_allclose(loudness(tone, framing)[5:-5], 0.5**0.5, rtol=1e-3)


@pytest.mark.parametrize("length", [0, 1, 199, 300])
def test_a_sound_shorter_than_a_window_is_refused(length: int) -> None:
    with pytest.raises(EdgeError, match="samples is"):
        log_mel(np.zeros(length, np.float32), Mel())


def test_bands_that_do_not_fit() -> None:
    with pytest.raises(EdgeError, match="cannot hold"):
        Mel(high=9000.0)
    with pytest.raises(EdgeError, match="cannot hold"):
        Mel(transform=512)


def voice(hertz: np.ndarray) -> np.ndarray:
    """A buzz [N] of harmonics that fall off, of a pitch [N], softened as by a mouth."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    out = sum(np.cos(k * phase) / k for k in range(1, 12)) * 0.2
    return (out + 0.002 * RNG.standard_normal(len(hertz))).astype(np.float32)


@pytest.mark.parametrize("hertz", [60, 85.5, 120, 220.3, 330, 410, 550])
def test_a_steady_voice_has_its_pitch(hertz: float) -> None:
    got = pitch(voice(np.full(RATE, hertz)), Framing())
    assert got.shape == (80,)
    np.testing.assert_allclose(got[3:-3], hertz, rtol=0.005)


@pytest.mark.parametrize("hertz", [90.0, 250.0])
def test_a_pure_tone_has_its_pitch(hertz: float) -> None:
    got = pitch(np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32), Framing())
    np.testing.assert_allclose(got[3:-3], hertz, rtol=0.005)


def test_a_glide_and_where_there_is_no_voice() -> None:
    """A second from 100 to 300 Hz, a second of hiss, a second of silence, half a second of 180 Hz."""
    rising = 100 * 3 ** (np.arange(RATE) / RATE)
    hiss = 0.1 * RNG.standard_normal(RATE)
    parts = [voice(rising), hiss, np.zeros(RATE), voice(np.full(RATE // 2, 180.0))]
    got = pitch(np.concatenate(parts).astype(np.float32), Framing())
    middles = (np.arange(80) + 0.5) * 200
    want = 100 * 3 ** (middles / RATE)
    np.testing.assert_allclose(got[4:76], want[4:76], rtol=0.02)
    assert np.count_nonzero(got[84:236]) <= 3
    np.testing.assert_allclose(got[244:276], 180, rtol=0.005)


def test_a_fundamental_that_is_missing_is_heard() -> None:
    """A telephone takes away what lies below 300 Hz."""
    at = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 110 * k * at) for k in range(3, 9)) / 8
    np.testing.assert_allclose(pitch(tone.astype(np.float32), Framing())[3:-3], 110, rtol=0.005)


@pytest.mark.parametrize("length", [200, 700, 1500])
def test_the_pitch_of_next_to_nothing(length: int) -> None:
    assert pitch(np.zeros(length, np.float32), Framing()).tolist() == [0.0] * (length // 200)


def recording(samples: np.ndarray, rate: int = RATE) -> Sound:
    return Sound(samples=samples.astype(np.float32), rate=rate)


def test_a_prompt_is_trimmed_scaled_and_centred() -> None:
    spoken = voice(np.full(2 * RATE, 120.0))
    quiet = np.zeros(RATE)
    prompt = as_prompt(recording(0.1 * np.concatenate([quiet, spoken, quiet]) + 0.2), Prompting())
    assert abs(prompt.seconds - 2.1) < 0.05
    assert prompt.notes == ("a constant of +0.20 was taken away",)
    assert abs(np.abs(prompt.samples).max() - 0.7) < 0.03
    at = as_prompt(recording(voice(np.full(96_000, 700.0)), 48_000), Prompting())
    assert (at.rate, round(at.seconds)) == (16_000, 2)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(RATE), "is silent"),
        (np.full(RATE, 0.5), "is silent"),
        (np.zeros(0), "is silent"),
        (0.5 * np.sin(np.arange(RATE // 10)), r"speaks for 0\.1 seconds"),
        (
            np.concatenate([np.zeros(RATE), voice(np.full(8000, 99.0)), np.zeros(RATE)]),
            r"for 0\.6 sec",
        ),
    ],
    ids=["silence", "a constant", "nothing", "a tenth of a second", "half a second in silence"],
)
def test_what_is_no_prompt_is_one_error(samples: np.ndarray, words: str) -> None:
    with pytest.raises(EdgeError, match=words):
        as_prompt(recording(samples), Prompting())


def test_a_long_prompt_is_cut_between_words() -> None:
    """SWivid/F5-TTS#806: a word cut in two spoils what is said after it."""
    spoken = voice(np.full(14 * RATE, 120.0))
    spoken[int(8.9 * RATE) : int(9.1 * RATE)] *= 0.01
    prompt = as_prompt(recording(spoken), Prompting())
    assert abs(prompt.seconds - 9) < 0.1
    assert prompt.notes == (f"its first {prompt.seconds:.1f} seconds were taken",)


def test_a_long_or_clipped_prompt_is_noted() -> None:
    spoken = np.clip(2 * np.sin(np.arange(12 * RATE) / 20), -1, 1)
    prompt = as_prompt(recording(spoken), Prompting())
    assert 8 <= prompt.seconds <= 10
    assert [note.split()[0:3] for note in prompt.notes] == [
        ["it", "is", "clipped:"],
        ["its", "first", f"{prompt.seconds:.1f}"],
    ]
