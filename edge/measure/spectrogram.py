"""What was said, as SVG: its spectrum in time, with each phoneme where it is, and the words above them."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from edge.audio.spectra import Mel, log_mel
from edge.errors import EdgeError
from edge.pipelines.utterance import Timed
from edge.typing import F32, U8

SECONDS = 60.0  # more would be no picture
_EACH = 240  # pixels a second
_HIGH, _LEFT, _TOP, _BELOW = 240, 44, 30, 46
_LOUD = 7.0  # nepers below the loudest, where the colour ends
# Dark to light in even steps, in the order of loudness: for those who see no colours, too.
_COLOURS = ((13, 8, 60), (84, 15, 109), (187, 55, 84), (249, 142, 9), (252, 255, 164))


def svg(samples: F32, mel: Mel, phonemes: Sequence[Timed], words: Sequence[Timed]) -> str:
    """samples [N] at the rate of `mel`. EdgeError where it lasts more than a minute."""
    seconds = samples.size / mel.framing.rate
    if seconds > SECONDS:
        raise EdgeError(
            f"a picture of {seconds:.0f} seconds", fix=f"draw {SECONDS:g} seconds at most"
        )
    wide = max(1.0, seconds * _EACH)
    width, height = _LEFT + wide + 12, _TOP + _HIGH + _BELOW
    picture = b64encode(png(coloured(log_mel(samples, mel)))).decode()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" '
            f'width="{width:g}" height="{height}" role="img" font-family="sans-serif" font-size="12">',
            "<title>The spectrum of what was said, and its phonemes</title>",
            "<style>text{fill:#222}.p{stroke:#fff8}"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>",
            f'<image x="{_LEFT}" y="{_TOP}" width="{wide:g}" height="{_HIGH}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{picture}"/>',
            *_pitches(mel),
            *_seconds(seconds),
            *_said(words, _TOP - 10, anchor="start"),
            *_said(phonemes, _TOP + _HIGH + 16, anchor="middle"),
            *(f'<path class="p" d="M{_across(p.end):g} {_TOP}v{_HIGH}"/>' for p in phonemes),
            "</svg>",
            "",
        ]
    )


def coloured(bands: F32) -> U8:
    """Log mel bands [T, M] -> a picture [M, T, 3], high bands above."""
    loud = np.clip(1 + (bands.T[::-1] - bands.max()) / _LOUD, 0, 1)  # [M, T]
    at = np.linspace(0, 1, len(_COLOURS))
    parts = [np.interp(loud, at, np.array(_COLOURS)[:, i]) for i in range(3)]
    out: U8 = np.stack(parts, 2).astype(np.uint8)
    return out


def png(rgb: U8) -> bytes:
    """A picture [H, W, 3] as a file (ISO/IEC 15948): without a library, for it is three chunks."""
    height, width = rgb.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, -1)], 1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _across(seconds: float) -> float:
    return round(_LEFT + seconds * _EACH, 1)


def _said(every: Sequence[Timed], y: float, *, anchor: str) -> Iterator[str]:
    for one in every:
        x = _across(one.start if anchor == "start" else (one.start + one.end) / 2)
        yield f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(one.text)}</text>'


def _seconds(seconds: float) -> Iterator[str]:
    y = _TOP + _HIGH + 38
    for half in range(int(2 * seconds) + 1):
        yield f'<text x="{_across(half / 2):g}" y="{y}" text-anchor="middle">{half / 2:g} s</text>'


def _pitches(mel: Mel) -> Iterator[str]:
    """Where bands lie."""
    ends = [2595 * np.log10(1 + hertz / 700) for hertz in (mel.low, mel.high)]
    for hertz in (500, 1000, 2000, 4000):
        share = (2595 * np.log10(1 + hertz / 700) - ends[0]) / (ends[1] - ends[0])
        y = _TOP + _HIGH * (1 - share)
        label = f"{hertz / 1000:g} kHz"
        yield f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end" font-size="10">{label}</text>'
