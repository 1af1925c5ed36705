"""WAV: RIFF and RF64 files of plain numbers, read from files that a stranger may have made, and written.

Sizes in a file are claims: nothing is allocated by them. What lies after the last whole frame is dropped.
Layout: Microsoft's "Multiple channel audio data and WAVE files", EBU Tech 3306 (RF64), EBU Tech 3285.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.closeable import Closeable
from edge.typing import F32, U8

CHANNELS = 64
RATES = (1000, 768_000)  # Hz
_CHUNKS = 1000  # of them are looked at
_BLOCK = 1 << 16  # bytes, about, that are decoded at a time
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID = bytes.fromhex(
    "000000001000800000aa00389b71"
)  # of an extensible format, after its two-byte tag
_PIPED = (
    0x7FFFF000  # and more: what programs say of a size who write into a pipe; ffmpeg and sox differ
)
# What it says of itself, by IPTC's vocabulary of digital sources.
SYNTHETIC = "Synthetic speech, made by a program (trainedAlgorithmicMedia)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Of the samples in a file. `frames`: that its head promises, None if it does not say."""

    tag: int
    channels: int
    rate: int
    bits: int
    frames: int | None

    @property
    def width(self) -> int:
        """Bytes a frame."""
        return self.channels * self.bits // 8


def is_wav(head: bytes) -> bool:
    """By the first twelve bytes."""
    return head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"


def read_layout(stream: BinaryIO, where: str) -> Layout:
    """Read up to the first sample, where the stream is left. Damaged if there is none, Unsupported if
    the samples are compressed.
    """
    stream.seek(12)
    tag, channels, rate, bits, size = 0, 0, 0, 0, None
    long_size = None
    for _ in range(_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            size = long_size if length == 0xFFFFFFFF and long_size else length
            break
        start = stream.tell()
        body = stream.read(min(length, 64)) if name in (b"fmt ", b"ds64") else b""
        if name == b"fmt ":
            tag, channels, rate, bits = _format(body, where)
        elif name == b"ds64" and len(body) >= 16:
            long_size = struct.unpack("<Q", body[8:16])[0]
        stream.seek(start + length + length % 2)
    if size is None or not channels:
        what = "no samples" if channels else "no description of its samples"
        raise Damaged(
            f"{where} is a WAV file with {what}", fix="get the file again: it may be cut off"
        )
    unknown = size == 0 or (_PIPED <= size <= 0xFFFFFFFF and long_size is None)
    frames = None if unknown else size // (channels * bits // 8)
    return Layout(tag=tag, channels=channels, rate=rate, bits=bits, frames=frames)


def _format(body: bytes, where: str) -> tuple[int, int, int, int]:
    """-> tag, channels, rate, bits of a sample as it is stored"""
    if len(body) < 16:
        raise Damaged(f"{where} is a WAV file whose head is cut off", fix="get the file again")
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID:
        tag = int(struct.unpack("<H", body[24:26])[0])
    allowed = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(tag)
    if allowed is None:
        raise Unsupported(
            f"{where} is a WAV file of compressed samples (format {tag:#06x})",
            fix="save it as 16-bit PCM, or as FLAC",
        )
    stored = 8 * width // channels if channels else 0  # 20 bits are stored in 24
    if not 1 <= channels <= CHANNELS or width % channels or bits > stored or stored not in allowed:
        raise Damaged(
            f"{where}: {channels} channels of {bits} bits in frames of {width} bytes are not possible",
            fix="save it as 16-bit PCM",
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise Damaged(
            f"{where}: {rate:,} samples a second are not possible",
            fix=f"save it at {RATES[0]:,} to {RATES[1]:,} Hz",
        )
    return tag, channels, rate, stored


def blocks(stream: BinaryIO, layout: Layout) -> Iterator[F32]:
    """The samples from where the stream is: [n, channels] at a time, full scale is 1."""
    left = layout.frames
    most = max(1, _BLOCK // layout.width)
    while left is None or left > 0:
        raw = stream.read(layout.width * (most if left is None else min(most, left)))
        frames = len(raw) // layout.width
        if not frames:
            return
        yield _decoded(raw[: frames * layout.width], layout).reshape(frames, layout.channels)
        left = None if left is None else left - frames


def _decoded(raw: bytes, layout: Layout) -> F32:
    if layout.tag == _FLOAT:
        return np.frombuffer(raw, f"<f{layout.bits // 8}").astype(np.float32)
    if layout.bits == 8:  # alone without a sign
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if layout.bits == 24:
        whole: U8 = np.zeros((len(raw) // 3, 4), np.uint8)
        whole[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return whole.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    out: F32 = np.frombuffer(raw, f"<i{layout.bits // 8}").astype(np.float32)
    return out / np.float32(2 ** (layout.bits - 1))


class WavWriter(Closeable):
    """16-bit mono into a stream that need not be seekable: then its sizes say that they are not known, as
    those of ffmpeg do. What the samples are is said before the first of them, so that a player that
    gets a part knows it, too.
    """

    def __init__(self, stream: BinaryIO, rate: int, comment: str = SYNTHETIC) -> None:
        self._stream, self._written, self.clipped = stream, 0, 0
        info = _chunk(b"INFO", {b"ISFT": "edge-toolkit", b"ICMT": comment})
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, 2 * rate, 2, 16)
        self._head = b"WAVE" + form + info
        self._start = stream.tell() if stream.seekable() else None
        stream.write(self._headed(0xFFFFFFFF, 0xFFFFFFFF))

    def write(self, samples: F32) -> None:
        """[n]; what is beyond full scale is clipped and counted."""
        if not np.isfinite(samples).all():
            raise EdgeError(
                "the samples to write hold NaN or infinity", fix="report it: no sound has them"
            )
        whole = np.rint(samples.astype(np.float64) * 32768)
        self.clipped += int(np.count_nonzero((whole > 32767) | (whole < -32768)))
        self._stream.write(np.clip(whole, -32768, 32767).astype("<i2").tobytes())
        self._written += 2 * samples.size

    def close(self) -> None:
        """Say how long it is, where that can be said afterwards. The stream stays open."""
        if self._start is not None and self._written < 0xFFFFFFFF - len(self._head) - 8:
            end = self._stream.tell()
            self._stream.seek(self._start)
            self._stream.write(self._headed(len(self._head) + 8 + self._written, self._written))
            self._stream.seek(end)
        self._stream.flush()

    def _headed(self, whole: int, data: int) -> bytes:
        return b"RIFF" + struct.pack("<I", whole) + self._head + b"data" + struct.pack("<I", data)


def _chunk(kind: bytes, texts: dict[bytes, str]) -> bytes:
    """A LIST of texts, each ended by a zero and filled up to an even length."""
    body = kind
    for name, text in texts.items():
        raw = text.encode("ascii", "replace") + b"\0"
        body += name + struct.pack("<I", len(raw)) + raw + b"\0" * (len(raw) % 2)
    return b"LIST" + struct.pack("<I", len(body)) + body
