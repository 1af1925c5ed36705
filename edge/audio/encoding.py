"""Sound as the bytes of a file, piece by piece: what is written so far may be sent while the rest is made.

WAV and plain numbers are written here; MP3, Opus and FLAC by libsndfile, which comes with an extra.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from edge.audio.resampling import Resampler
from edge.audio.wav import SYNTHETIC, WavWriter
from edge.errors import EdgeError, Unsupported
from edge.typing import F32

PCM_RATE = (
    24_000  # Hz: what OpenAI's clients take plain numbers for, which say nothing of themselves
)
_SMALLER = 0.6  # of libsndfile's scale of 0 to 1: 64 kbit/s of MP3


class Writer(Protocol):
    """Sound into a stream."""

    def write(self, samples: F32, /) -> None: ...

    def close(self) -> None: ...


class PcmWriter:
    """Plain 16-bit numbers, little-endian, one channel, at `PCM_RATE`."""

    def __init__(self, stream: BinaryIO, rate: int) -> None:
        self._stream, self._resampler = stream, Resampler(rate, PCM_RATE)

    def write(self, samples: F32) -> None:
        self._put(self._resampler.add(samples))

    def close(self) -> None:
        self._put(self._resampler.end())

    def _put(self, samples: F32) -> None:
        whole = np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767)
        self._stream.write(whole.astype("<i2").tobytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """A kind of file. `media`: its type for a browser; `whole`: its head is only right once all of it is there;
    `library`: libsndfile writes it, as this format and with these options.
    """

    media: str
    writer: Callable[[BinaryIO, int], Writer] | None = None
    whole: bool = False
    library: Mapping[str, Any] | None = None


# One bit rate: else a player guesses the length of an MP3 by its first frame.
_MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
ENCODINGS: Mapping[str, Encoding] = {
    "wav": Encoding(media="audio/wav", writer=WavWriter),
    "pcm": Encoding(media="audio/pcm", writer=PcmWriter),
    "mp3": Encoding(media="audio/mpeg", library={**_MP3, "compression_level": _SMALLER}),
    "opus": Encoding(media="audio/ogg;codecs=opus", library={"format": "OGG", "subtype": "OPUS"}),
    "flac": Encoding(
        media="audio/flac", library={"format": "FLAC", "subtype": "PCM_16"}, whole=True
    ),
}


def encodings() -> tuple[str, ...]:
    """Names of `ENCODINGS` that can be written here."""
    there = _soundfile() is not None
    return tuple(name for name, one in ENCODINGS.items() if there or one.library is None)


def refuse_unwritten(name: str) -> None:
    """Unsupported if a kind of file cannot be written here; what there is, is said."""
    there = encodings()
    if name in there:
        return
    known = name in ENCODINGS
    what = "needs soundfile, which is not installed" if known else "cannot be written here"
    more = "pip install 'edge-toolkit[speech]', or " if known else ""
    raise Unsupported(f"{name} {what}", fix=f"{more}ask for {', '.join(there[:-1])} or {there[-1]}")


class Encoder:
    """Samples in, bytes out. `whole`: nothing comes before all is there, and then the sizes in a file's head are
    right; else a WAV says that its length is not known, as OpenAI's does.
    """

    def __init__(self, name: str, rate: int, *, whole: bool = False) -> None:
        refuse_unwritten(name)
        kind = ENCODINGS[name]
        self._sink = _Sink(patched=whole or kind.whole)
        stream = cast("BinaryIO", self._sink)
        self._writer: Writer = (
            kind.writer(stream, rate)
            if kind.writer is not None
            else _by_library(stream, rate, kind.library or {})
        )

    def write(self, samples: F32) -> bytes:
        """[n] -> what can be sent now, which may be nothing."""
        if not np.isfinite(samples).all():
            raise EdgeError("the sound holds NaN or infinity", fix="report it: no sound has them")
        self._writer.write(samples)
        return self._sink.take()

    def close(self) -> bytes:
        """The rest. Later calls do nothing."""
        if self._sink.closed:
            return b""
        self._writer.close()
        self._sink.closed = True
        return self._sink.take()


class _Sink:
    """A stream whose bytes are taken as they come; `patched`: only at its end, for its head is written anew then."""

    def __init__(self, *, patched: bool) -> None:
        self.closed = False
        self._patched, self._held, self._at, self._taken = patched, bytearray(), 0, 0

    def seekable(self) -> bool:
        return self._patched

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._taken + len(self._held))[whence]
        return self._at

    def read(self, _: int = -1) -> bytes:
        return b""

    def write(self, content: bytes) -> int:
        """What was taken already stays as it was."""
        start = self._at - self._taken
        content = bytes(content)
        if start >= 0:
            self._held[start : start + len(content)] = content
        self._at += len(content)
        return len(content)

    def flush(self) -> None:
        return

    def take(self) -> bytes:
        if self._patched and not self.closed:
            return b""
        content, self._taken = bytes(self._held), self._taken + len(self._held)
        self._held.clear()
        return content


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        return None
    return soundfile


def _by_library(stream: BinaryIO, rate: int, options: Mapping[str, Any]) -> Writer:
    file = _soundfile().SoundFile(stream, "w", rate, 1, **options)
    file.comment = SYNTHETIC
    return cast("Writer", file)
