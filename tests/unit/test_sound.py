"""Sound files become numbers, or one error. The standard library's wave, soundfile and scipy are the oracles."""

import io
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.audio.resampling import resampled
from edge.audio.sound import Sound, open_sound
from edge.audio.wav import SYNTHETIC, WavWriter
from edge.errors import Damaged, EdgeError, Unsupported
from edge.measure.inspection import inspect

RNG = np.random.default_rng(0)
NOISE = RNG.uniform(-0.9, 0.9, (400, 2))


def riff(fmt: bytes, data: bytes, *, size: int | None = None, before: bytes = b"") -> bytes:
    form = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    body = (
        b"WAVE" + before + form + b"data" + struct.pack("<I", len(data) if size is None else size)
    )
    return b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data


def pcm(tag: int, channels: int, rate: int, bits: int) -> bytes:
    width = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * width % 2**32, width, bits)


def extensible(plain: bytes, bits: int) -> bytes:
    tag, channels, rate, speed, width, stored = struct.unpack("<HHIIHH", plain)
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    head = struct.pack("<HHIIHH", 0xFFFE, channels, rate, speed, width, stored)
    return head + struct.pack("<HHI", 22, bits, 3) + guid


def sixteen(samples: np.ndarray, rate: int = 16000) -> bytes:
    """[N] or [N, C] -> a file, by the standard library."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return out.getvalue()


STORED: dict[str, tuple[int, int, Callable[[np.ndarray], bytes]]] = {
    "8": (1, 8, lambda x: np.rint(x * 127 + 128).astype(np.uint8).tobytes()),
    "16": (1, 16, lambda x: np.rint(x * 32767).astype("<i2").tobytes()),
    "24": (
        1,
        24,
        lambda x: np.rint(x * 8388607).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
    ),
    "32": (1, 32, lambda x: np.rint(x * 2147483647).astype("<i4").tobytes()),
    "float 32": (3, 32, lambda x: x.astype("<f4").tobytes()),
    "float 64": (3, 64, lambda x: x.astype("<f8").tobytes()),
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "extensible"])
def test_every_kind_of_sample_is_read(kind: str, wrapped: bool) -> None:
    tag, bits, stored = STORED[kind]
    fmt = pcm(tag, 2, 22050, bits)
    content = riff(extensible(fmt, bits) if wrapped else fmt, stored(NOISE))
    sound = open_sound(content)
    assert (sound.rate, sound.samples.size, sound.notes) == (22050, 400, ())
    assert sound.samples.dtype == np.float32
    np.testing.assert_allclose(sound.samples, NOISE.mean(1), atol=1.6 / 2 ** (min(bits, 20) - 1))
    sf = pytest.importorskip("soundfile", reason="needs '.[speech]'")
    want, rate = sf.read(io.BytesIO(content), dtype="float32", always_2d=True)
    assert rate == 22050
    np.testing.assert_allclose(sound.samples, want.mean(1), atol=1e-7)


def test_twenty_bits_lie_in_twenty_four() -> None:
    fmt = struct.pack("<HHIIHH", 1, 1, 8000, 24000, 3, 20)
    content = riff(fmt, b"\0\0\x40\0\0\xc0")
    np.testing.assert_array_equal(open_sound(content).samples, [0.5, -0.5])


def test_other_chunks_and_odd_lengths_are_skipped() -> None:
    list_chunk = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # 5 bytes and one to fill up
    content = riff(pcm(1, 1, 16000, 16), b"\0\x40" * 8, before=list_chunk)
    np.testing.assert_array_equal(open_sound(content).samples, np.full(8, 0.5))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_stream_s_unknown_size_reads_to_the_end(size: int) -> None:
    """What ffmpeg and sox write into a pipe (kaldi-asr/kaldi#1567)."""
    content = riff(pcm(1, 1, 16000, 16), b"\0\x40" * 80, size=size)
    sound = open_sound(content)
    assert (sound.samples.size, sound.notes) == (80, ())


def test_a_cut_file_is_read_as_far_as_it_goes() -> None:
    content = sixteen(np.full(1600, 0.5))
    sound = open_sound(content[:-1601])
    assert sound.samples.size == 799
    assert sound.notes == ("it is cut off: 0.0 seconds are there",)


@pytest.mark.parametrize("size", [2**30, 2**31 - 5000])
def test_a_size_that_lies_takes_no_memory(size: int) -> None:
    assert open_sound(riff(pcm(1, 1, 16000, 16), b"\0\x40" * 80, size=size)).samples.size == 80


def test_rf64_says_its_size_elsewhere() -> None:
    data = b"\0\x40" * 100
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 120, 60, 0)
    content = bytearray(riff(pcm(1, 1, 16000, 16), data, size=0xFFFFFFFF, before=ds64))
    content[:4] = b"RF64"
    assert open_sound(bytes(content)).samples.size == 60  # of 120 bytes: what follows is no sound


BROKEN = {
    "nothing": (b"", Damaged, "is empty"),
    "a head alone": (b"RIFF\0\0\0\0WAVE", Damaged, "no description"),
    "no samples": (riff(pcm(1, 1, 16000, 16), b""), Damaged, "holds no samples"),
    "half a frame": (riff(pcm(1, 2, 16000, 16), b"\0\0\0"), Damaged, "holds no samples"),
    "no channels": (riff(pcm(1, 0, 16000, 16), b"\0\0"), Damaged, "no description|not possible"),
    "many channels": (riff(pcm(1, 65, 16000, 16), b"\0" * 130), Damaged, "not possible"),
    "seven bits": (riff(pcm(1, 1, 16000, 7), b"\0\0"), Damaged, "not possible"),
    "no rate": (riff(pcm(1, 1, 0, 16), b"\0\0"), Damaged, "0 samples a second"),
    "a great rate": (riff(pcm(1, 1, 2**32 - 1, 16), b"\0\0"), Damaged, "samples a second"),
    "a short fmt": (riff(b"\1\0\1\0", b"\0\0"), Damaged, "head is cut off"),
    "ADPCM": (riff(pcm(0x11, 1, 16000, 8), b"\0\0"), Unsupported, "compressed samples"),
    "NaN": (riff(pcm(3, 1, 16000, 32), b"\0\0\xc0\x7f"), Damaged, "NaN"),
    "floats beyond any sound": (
        riff(pcm(3, 1, 16000, 32), b"\xff\xff\x7f\x7f"),
        Damaged,
        "full scale",
    ),
    "M4A": (b"\0\0\0 ftypM4A " + b"\0" * 20, Unsupported, "is MP4 or M4A, not WAV, FLAC"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", Unsupported, "Git LFS"),
    "text": (b"hello there, this is text", Unsupported, "is none of WAV, FLAC"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_sound_is_one_error(what: str) -> None:
    content, kind, words = BROKEN[what]
    with pytest.raises(kind, match=words):
        open_sound(content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="there is no file"):
        open_sound(tmp_path / "me.wav")
    with pytest.raises(EdgeError, match="there is no file"):
        open_sound(tmp_path)


def test_what_is_too_long_is_refused_or_cut() -> None:
    content = sixteen(np.full(4000, 0.25))
    with pytest.raises(EdgeError, match=r"longer than 0\.1 seconds"):
        open_sound(content, longest=0.1)
    sound = open_sound(content, longest=0.1, cut=True)
    assert sound.samples.size == 1600
    assert sound.notes == ("the first 0.1 seconds of it were taken",)
    assert open_sound(content, longest=0.25).notes == ()


def test_an_hour_is_not_read_to_its_end(tmp_path: Path) -> None:
    """The file has holes, not samples, and would be 690 MB."""
    file = tmp_path / "hour.wav"
    head = riff(pcm(1, 2, 48000, 16), b"", size=3600 * 192_000)
    with file.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + 3600 * 192_000)
    sound = open_sound(file, longest=2, cut=True, rate=16000)
    assert (sound.samples.size, sound.rate) == (32000, 16000)


def test_channels_that_cancel_each_other() -> None:
    one = np.sin(np.arange(800) / 9)
    sound = open_sound(sixteen(np.stack([0.5 * one, -0.501 * one], 1)))
    assert "cancel" in sound.notes[0]
    np.testing.assert_allclose(sound.samples, -0.501 * one, atol=1e-4)
    assert open_sound(sixteen(np.zeros((100, 2)))).notes == ()


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "WAV"])
def test_formats_of_the_library(kind: str) -> None:
    sf = pytest.importorskip("soundfile", reason="needs '.[speech]'")
    tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(8000) / 16000)
    out = io.BytesIO()
    sf.write(out, tone, 16000, format=kind)
    sound = open_sound(out.getvalue())
    assert sound.rate == 16000
    start = sound.samples.size - 8000 if kind == "MP3" else 0
    assert 0 <= start < 3000  # what an MP3 coder puts before and after
    if kind in ("FLAC", "WAV"):
        np.testing.assert_allclose(sound.samples, tone, atol=1e-4)
    else:
        assert (
            np.corrcoef(sound.samples[2000:6000], tone[2000:6000])[0, 1] ** 2 > 0.9 or kind == "MP3"
        )
    for cut in (0, 4, 30, len(out.getvalue()) // 2):
        try:
            cut_sound = open_sound(out.getvalue()[:cut])
        except (Damaged, Unsupported):
            continue
        assert cut_sound.samples.size <= sound.samples.size


def test_without_the_library_a_flac_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(Unsupported, match="needs soundfile") as error:
        open_sound(b"fLaC" + b"\0" * 100)
    assert "[speech]" in str(error.value)


def test_real_recordings(assets: Path) -> None:
    pytest.importorskip("soundfile", reason="needs '.[speech]'")
    jfk = open_sound(assets / "speech/whisper/jfk.flac", rate=16000)
    assert (jfk.rate, round(jfk.seconds)) == (16000, 11)
    lj = open_sound(assets / "speech/speechbrain/LJ050-0131.wav")
    with wave.open(str(assets / "speech/speechbrain/LJ050-0131.wav")) as file:
        want = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    np.testing.assert_array_equal(lj.samples, want.astype(np.float32))


def test_what_is_written_says_that_it_is_synthetic() -> None:
    out = io.BytesIO()
    samples = np.array([0, 0.5, -0.5, 1.5, -1.5, 1 / 32768], np.float32)
    with WavWriter(out, 24000) as file:
        file.write(samples[:2])
        file.write(samples[2:])
    assert file.clipped == 2
    content = out.getvalue()
    with wave.open(io.BytesIO(content)) as read:
        assert (read.getframerate(), read.getnchannels(), read.getnframes()) == (24000, 1, 6)
        got = np.frombuffer(read.readframes(6), "<i2")
    assert got.tolist() == [0, 16384, -16384, 32767, -32768, 1]
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8
    assert content.index(b"ICMT") < content.index(b"data")
    assert SYNTHETIC.encode() in content
    sf = pytest.importorskip("soundfile", reason="needs '.[speech]'")
    with sf.SoundFile(io.BytesIO(content)) as read:
        assert (read.comment, read.software[:12]) == (SYNTHETIC, "edge-toolkit")


def test_a_pipe_gets_a_file_whose_size_is_unknown() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pipe = Pipe()
    with WavWriter(pipe, 16000) as file:
        file.write(np.full(100, 0.5, np.float32))
    sound = open_sound(pipe.getvalue())
    assert (sound.samples.size, sound.notes) == (100, ())
    with wave.open(io.BytesIO(pipe.getvalue())) as read:
        assert read.getframerate() == 16000


def test_no_sound_has_nan() -> None:
    with pytest.raises(EdgeError, match="NaN"):
        WavWriter(io.BytesIO(), 16000).write(np.array([np.nan], np.float32))


RATES = [
    (44100, 16000),
    (16000, 44100),
    (96000, 16000),
    (8000, 16000),
    (22050, 24000),
    (16000, 24000),
]


@pytest.mark.parametrize(("old", "new"), RATES)
def test_a_tone_stays_the_tone_at_another_rate(old: int, new: int) -> None:
    """The closed form, and scipy's filter within what the two filters differ by."""
    tones = [(440.0, 0.6), (0.4 * min(old, new), 0.3)]
    old_at, new_at = np.arange(old) / old, np.arange(new) / new
    sound = sum(a * np.sin(2 * np.pi * f * old_at) for f, a in tones).astype(np.float32)
    want = sum(a * np.sin(2 * np.pi * f * new_at) for f, a in tones)
    got = resampled(sound, old, new)
    assert got.shape == (new,)
    inside = slice(new // 50, -new // 50)
    np.testing.assert_allclose(got[inside], want[inside], atol=1e-4)
    signal = pytest.importorskip("scipy.signal")
    other = signal.resample_poly(sound, new, old, window=("kaiser", 9.0))
    assert other.size == got.size
    assert np.abs(other - got)[inside].max() < 0.02


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (96000, 16000)])
def test_what_no_lower_rate_can_hold_is_gone(old: int, new: int) -> None:
    above = np.sin(2 * np.pi * 0.55 * new * np.arange(old) / old).astype(np.float32)
    assert np.abs(resampled(above, old, new)[400:-400]).max() < 1e-4


@pytest.mark.parametrize("length", [0, 1, 2, 17])
@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 3), (44100, 16000), (16000, 44101)])
def test_short_sounds_and_odd_rates(length: int, old: int, new: int) -> None:
    got = resampled(np.ones(length, np.float32), old, new)
    assert got.size == -(-length * new // old)
    assert np.isfinite(got).all()


def test_inspect_says_whether_a_recording_will_do_as_a_voice(tmp_path: Path) -> None:
    at = np.arange(2 * 16000) / 16000
    buzz = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 8)) / 4
    (tmp_path / "me.wav").write_bytes(sixteen(buzz))
    found = inspect(tmp_path / "me.wav")
    assert (found["kind"], found["seconds"], found["rate"], found["voice"]) == (
        "sound",
        2.0,
        16000,
        "2.0 seconds of it",
    )
    assert abs(found["pitch"] - 150) < 1
    (tmp_path / "short.wav").write_bytes(sixteen(buzz[:1600]))
    assert (
        inspect(tmp_path / "short.wav")["voice"]
        == "no: the voice to imitate speaks for 0.1 seconds"
    )


def test_a_sound_knows_how_long_it_is() -> None:
    assert Sound(samples=np.zeros(8000, np.float32), rate=16000).seconds == 0.5
