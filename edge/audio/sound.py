"""Sound from a file or bytes that a stranger may have made: mono, at the rate that is asked for, of bounded length.

WAV is read here; FLAC, Ogg and MP3 by libsndfile, which comes with an extra. A file's own sizes are claims: blocks
are decoded until there is no more, or more than is allowed.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.audio import wav
from edge.audio.resampling import resampled
from edge.errors import Damaged, EdgeError, Unsupported
from edge.typing import F32

SECONDS = 600.0
SAMPLES = 64 << 20  # of one channel, before its rate is changed: 256 MiB
_UNKNOWN = (
    1 << 48
)  # samples and more are what libsndfile says of an Ogg file without an end (libsndfile#989)
_LOUDEST = 1024.0  # times full scale
_READ = ("WAV", "FLAC", "Ogg", "MP3")
# What others begin with, by the place and the bytes: to say what it is.
_OTHERS = (
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"FORM", "AIFF"),
    (0, b"RIFX", "WAV of big-endian numbers"),
    (0, b"caff", "CAF"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"wvpk", "WavPack"),
    (0, b".snd", "AU"),
    (0, b"0&\xb2u", "WMA"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, which stands for the file"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """samples [N], full scale is 1; rate in Hz. notes: what was in the file and is not here, one a sentence."""

    samples: F32
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.samples.size / self.rate


def open_sound(
    source: Path | bytes, *, rate: int | None = None, longest: float = SECONDS, cut: bool = False
) -> Sound:
    """A sound file, at `rate` Hz if one is given. Of one that is longer than `longest` seconds the beginning is taken
    where `cut`, which a note says; else it is refused. Damaged if it is broken, Unsupported if its format is not
    read, EdgeError if there is no such file or it is too long.
    """
    where = "the sound" if isinstance(source, bytes) else str(source)
    with ExitStack() as stack:
        stream = stack.enter_context(_opened(source))
        sound = _read(stream, _Asked(where=where, longest=longest, cut=cut))
    return sound if rate is None else at_rate(sound, rate)


def is_sound(file: Path) -> bool:
    """Whether it begins as one of the formats that are read."""
    with file.open("rb") as stream:
        return _is_read(stream.read(64))


def at_rate(sound: Sound, rate: int) -> Sound:
    """The same sound with another number of samples a second."""
    return replace(sound, samples=resampled(sound.samples, sound.rate, rate), rate=rate)


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not source.is_file():
        raise EdgeError(f"there is no file {source}", fix="check its name")
    return source.open("rb")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    where: str
    longest: float
    cut: bool


def _read(stream: BinaryIO, asked: _Asked) -> Sound:
    head = stream.read(64)
    if wav.is_wav(head):
        layout = wav.read_layout(stream, asked.where)
        return _mixed(wav.blocks(stream, layout), layout.rate, layout.frames, asked)
    if not _is_read(head):
        raise _unread(head, asked.where)
    stream.seek(0)
    return _by_library(stream, asked)


def _is_read(head: bytes) -> bool:
    other = head[:4] in (b"fLaC", b"OggS") or head[:3] == b"ID3" or _is_mpeg(head)
    return other or wav.is_wav(head)


def _is_mpeg(head: bytes) -> bool:
    """A frame of MPEG audio, layer III: eleven bits of ones come first."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def _unread(head: bytes, where: str) -> EdgeError:
    if not head:
        return Damaged(f"{where} is empty", fix="get the file again")
    kind = next((name for at, magic, name in _OTHERS if head[at : at + len(magic)] == magic), None)
    what = f"is {kind}, not" if kind else "is none of"
    return Unsupported(
        f"{where} {what} {', '.join(_READ)}", fix="save it as WAV or FLAC: ffmpeg -i FILE out.wav"
    )


def _by_library(stream: BinaryIO, asked: _Asked) -> Sound:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        raise Unsupported(
            f"{asked.where} needs soundfile, which reads FLAC, Ogg and MP3",
            fix="pip install 'edge-toolkit[speech]', or save it as WAV",
        ) from None
    try:
        with soundfile.SoundFile(stream) as file:
            blocks = _until_empty(lambda: file.read(1 << 14, dtype="float32", always_2d=True))
            return _mixed(blocks, file.samplerate, file.frames, asked)
    except EdgeError:
        raise
    except Exception as error:  # what libsndfile raises of a broken file has no one class
        raise Damaged(
            f"{asked.where} cannot be decoded: {type(error).__name__}: {error}",
            fix="get the file again: it may be cut off",
        ) from None


def _until_empty(read: Callable[[], F32]) -> Iterator[F32]:
    while (block := read()).size:
        yield block


def _mixed(blocks: Iterator[F32], rate: int, promised: int | None, asked: "_Asked") -> Sound:
    """Blocks [n, channels] -> one channel, at most as long as was asked for."""
    where = asked.where
    if not wav.RATES[0] <= rate <= wav.RATES[1]:
        raise Damaged(f"{where}: {rate:,} samples a second are not possible", fix="save it as WAV")
    most = min(int(asked.longest * rate), SAMPLES)
    mixer, count = _Mixer(), 0
    for block in blocks:
        _check_samples(block, where)
        count += block.shape[0]
        mixer.add(block[: block.shape[0] - max(0, count - most)])
        if count > most:
            break
    if not count:
        raise Damaged(f"{where} holds no samples", fix="get the file again: it may be cut off")
    if count > most and not asked.cut:
        raise EdgeError(
            f"{where} is longer than {most / rate:g} seconds",
            fix="cut it to the part that is meant",
        )
    samples, notes = mixer.done()
    if count > most:
        notes.append(f"the first {most / rate:g} seconds of it were taken")
    elif promised is not None and count < promised < _UNKNOWN:
        notes.append(f"it is cut off: {count / rate:.1f} seconds are there")
    return Sound(samples=samples, rate=rate, notes=tuple(notes))


def _check_samples(block: F32, where: str) -> None:
    """Floats can be anything: what is far beyond full scale would overflow in the next sum."""
    if not np.abs(block).max(initial=0.0) < _LOUDEST:  # nor where it is NaN
        raise Damaged(
            f"{where} holds samples that are NaN, or more than {_LOUDEST:,.0f} times full scale",
            fix="save it as 16-bit PCM",
        )


class _Mixer:
    """The mean of the channels, and the loudest of them, should they cancel each other."""

    def __init__(self) -> None:
        self._power = np.zeros(1)  # [channels]
        self._mean: list[F32] = []
        self._both: list[F32] = []  # where there are two: [n, 2]

    def add(self, block: F32) -> None:
        """[n, channels]"""
        self._power = self._power + np.square(block, dtype=np.float64).sum(0)
        self._mean.append(block.mean(1, dtype=np.float32))
        if block.shape[1] == 2:
            self._both.append(block)

    def done(self) -> tuple[F32, list[str]]:
        mean: F32 = np.concatenate(self._mean)
        power = float(np.square(mean, dtype=np.float64).sum())
        # A microphone wired the wrong way round: the sum of both sides is next to nothing.
        if self._both and power < 0.01 * self._power.min():
            louder: F32 = np.concatenate(self._both)[:, int(self._power.argmax())].copy()
            return louder, ["its two channels cancel each other: the louder one was taken"]
        return mean, []
