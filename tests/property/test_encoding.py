"""Sound as files, piece by piece: laws of what is sent, read back by a library that is not ours where there is one."""

import io
import wave
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.audio import encoding
from edge.audio.encoding import ENCODINGS, PCM_RATE, Encoder, encodings
from edge.audio.resampling import Resampler, resampled
from edge.audio.sound import open_sound
from edge.errors import EdgeError, Unsupported
from edge.typing import F32

RATE = 16_000
LIBRARY = [name for name, kind in ENCODINGS.items() if kind.library]


def tone(seconds: float, rate: int = RATE) -> F32:
    at = np.arange(int(seconds * rate)) / rate
    sound: F32 = (0.4 * np.sin(2 * np.pi * (200 + 300 * at) * at)).astype(np.float32)
    return sound


def sent(name: str, pieces: Sequence[F32], *, whole: bool = False, rate: int = RATE) -> list[bytes]:
    encoder = Encoder(name, rate, whole=whole)
    return [*(encoder.write(piece) for piece in pieces), encoder.close()]


def parted(samples: F32, sizes: Sequence[int]) -> list[F32]:
    cuts = np.cumsum(sizes)
    return np.split(samples, cuts[cuts < samples.size])


@given(
    sizes=st.lists(st.integers(0, 700), max_size=12),
    old=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100]),
    new=st.sampled_from([8_000, 16_000, 24_000, 48_000]),
)
def test_sound_in_pieces_changes_its_rate_as_the_whole_does(
    sizes: list[int], old: int, new: int
) -> None:
    samples = np.random.default_rng(sum(sizes)).normal(size=sum(sizes)).astype(np.float32)
    one = Resampler(old, new)
    made = np.concatenate([*map(one.add, parted(samples, sizes)), one.end()])
    want = resampled(samples, old, new)
    assert made.shape == want.shape
    np.testing.assert_allclose(made, want, atol=2e-6)


def test_most_of_it_comes_at_once() -> None:
    one = Resampler(RATE, PCM_RATE)
    assert one.add(tone(0.5)).size > 0.49 * PCM_RATE


@given(st.lists(st.integers(0, 4000), max_size=8))
def test_pieces_of_a_wav_are_one_file_whose_head_comes_once(sizes: list[int]) -> None:
    """Kokoro-FastAPI#57: a head a piece, and players stopped after the first; #463: bytes after the last sample."""
    samples = tone(sum(sizes) / RATE)
    made = sent("wav", parted(samples, sizes))
    content = b"".join(made)
    assert content.count(b"RIFF") == content.count(b"WAVE") == 1
    assert content[4:8] == b"\xff\xff\xff\xff"
    numbers = np.rint(samples.astype(np.float64) * 32768).astype("<i2").tobytes()
    assert content.endswith(b"data\xff\xff\xff\xff" + numbers)
    if samples.size:
        np.testing.assert_allclose(open_sound(content).samples, samples, atol=2**-15)


def test_a_whole_wav_says_how_long_it_is() -> None:
    """pocket-tts#229, speaches#665: 24 hours by its head."""
    samples = tone(0.5)
    pieces = sent("wav", np.array_split(samples, 5), whole=True)
    assert [bool(piece) for piece in pieces] == [False] * 5 + [True]
    with wave.open(io.BytesIO(pieces[-1])) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (8000, RATE, 1)


def test_plain_numbers_have_the_rate_that_clients_take_them_for() -> None:
    """VoxCPM.cpp#5: else a voice of 16 kHz is heard at half as fast again."""
    samples = tone(0.5)
    content = b"".join(sent("pcm", np.array_split(samples, 7)))
    numbers = np.frombuffer(content, "<i2") / 32768
    np.testing.assert_allclose(numbers, resampled(samples, RATE, PCM_RATE), atol=2**-15)


@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.parametrize("whole", [False, True])
def test_what_the_library_writes_is_read_by_it_in_full(name: str, whole: bool) -> None:
    """speaches#341 and #342, Kokoro-FastAPI#57: heads that were true of no length, or of the first piece's."""
    soundfile = pytest.importorskip("soundfile")
    samples = tone(3)
    made = sent(name, np.array_split(samples, 30), whole=whole)
    content = b"".join(made)
    found, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == RATE
    assert samples.size <= found.size < samples.size + 2500, "codecs fill their last frame"
    late = int(np.argmax(np.correlate(found[:6000], samples[1000:4000], "valid"))) - 1000
    same = found[late : late + samples.size]
    assert np.sqrt(np.mean((same - samples[: same.size]) ** 2)) < 0.03
    early = sum(map(len, made[:15])) / len(content)
    assert early == 0 if whole or ENCODINGS[name].whole else early > 0.2
    if not whole:
        assert b"Synthetic" in content


@pytest.mark.parametrize("name", LIBRARY)
def test_the_rates_of_opus_and_of_our_voices_agree(name: str) -> None:
    """Dia-TTS-Server#12: Opus of 44.1 kHz is an error of the encoder's."""
    pytest.importorskip("soundfile")
    assert b"".join(sent(name, [tone(0.2)]))


def test_what_cannot_be_written_says_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="aac cannot be written") as found:
        Encoder("aac", RATE)
    assert "wav" in found.value.fix
    monkeypatch.setattr(encoding, "_soundfile", lambda: None)
    assert encodings() == ("wav", "pcm")
    with pytest.raises(Unsupported, match="mp3 needs soundfile") as found:
        Encoder("mp3", RATE)
    assert found.value.fix.endswith("ask for wav or pcm")


def test_what_is_no_sound_is_not_sent() -> None:
    with pytest.raises(EdgeError, match="NaN"):
        Encoder("pcm", RATE).write(np.array([np.nan], np.float32))
