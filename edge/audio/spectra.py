"""Frames of a sound and what each holds: spectrum, mel bands, loudness. Sizes are data; torch's and librosa's
conventions are two settings of one function.

N samples, T frames, W samples a window, F bins, M mel bands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.typing import F32

F64 = NDArray[np.float64]
_AT_ONCE = 1 << 19  # samples in frames, to bound memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Framing:
    """Frame t's window has its middle at sample t * hop, and there are 1 + N // hop (`center`), or at (t + 1/2) * hop
    and there are N // hop (`same`), so that every frame is a hop of the sound. Beyond its ends the sound is reflected.
    """

    rate: int = 16_000  # Hz
    hop: int = 200
    window: int = 800
    padding: Literal["center", "same"] = "same"

    def frames(self, samples: int) -> int:
        """How many a sound of that many samples has."""
        return samples // self.hop + (self.padding == "center")

    @property
    def per_second(self) -> float:
        return self.rate / self.hop


@dataclass(frozen=True, kw_only=True, slots=True)
class Mel:
    """Log mel bands: log(max(floor, filters @ |spectrum| ** power)).

    scale: `htk` is 2595 log10(1 + f / 700); `slaney` is straight up to 1 kHz and logarithmic above. area: each filter
    has the same area (librosa's default), else the same height 1.
    """

    framing: Framing = Framing()
    transform: int = 1024  # points of the Fourier transform
    bands: int = 80
    low: float = 0.0  # Hz
    high: float = 8000.0
    scale: Literal["htk", "slaney"] = "htk"
    area: bool = False
    power: float = 1.0
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if (
            self.framing.window > self.transform
            or not 0 <= self.low < self.high <= self.framing.rate / 2
        ):
            raise EdgeError(
                f"{self} has a window or bands that its transform and rate cannot hold",
                fix="take a transform no shorter than the window, and bands up to half the rate",
            )


# What vocoders were trained on. Vocos: arXiv 2306.00814, its published 24 kHz model (torchaudio's defaults);
# HiFi-GAN: arXiv 2010.05646, universal (librosa's defaults).
MELS: Mapping[str, Mel] = MappingProxyType(
    {
        "edge": Mel(),
        "vocos-24k": Mel(
            framing=Framing(rate=24_000, hop=256, window=1024, padding="center"),
            bands=100,
            high=12_000.0,
            floor=1e-7,
        ),
        "hifi-gan-22k": Mel(
            framing=Framing(rate=22_050, hop=256, window=1024),
            scale="slaney",
            area=True,
        ),
    }
)


def log_mel(samples: F32, mel: Mel) -> F32:
    """[N] -> [T, M]. EdgeError if the sound is shorter than it takes to reflect."""
    filters = filter_bank(mel)  # [F, M]
    window = np.pad(_hann(mel.framing.window), (mel.transform - mel.framing.window) // 2)
    window = np.pad(window, (0, mel.transform - window.size))
    framed = frames(samples, mel.framing, mel.transform)  # [T, transform]
    out: F32 = np.empty((framed.shape[0], mel.bands), np.float32)
    rows = max(1, _AT_ONCE // mel.transform)
    for start in range(0, framed.shape[0], rows):
        spectrum = np.fft.rfft(framed[start : start + rows] * window)  # [rows, F]
        bands = np.abs(spectrum) ** mel.power @ filters
        out[start : start + rows] = np.log(np.maximum(bands, mel.floor))
    return out


def frames(samples: F32, framing: Framing, length: int) -> F32:
    """[N] -> a view [T, length], each of its rows around the middle of a frame."""
    if samples.size < framing.hop:
        raise EdgeError(
            f"a sound of {samples.size} samples is shorter than a frame of {framing.hop}",
            fix="take a longer sound",
        )
    count = framing.frames(samples.size)
    same = framing.padding == "same"
    before = (length - framing.hop) // 2 if same else length // 2
    after = max(0, (count - 1) * framing.hop + length - before - samples.size)
    if max(before, after) >= samples.size:
        raise EdgeError(
            f"a sound of {samples.size} samples is too short for windows of {length}",
            fix="take a longer sound",
        )
    padded = np.pad(samples, (before, after), mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, length)[:: framing.hop][:count]


def loudness(samples: F32, framing: Framing) -> F32:
    """[N] -> [T], the root of the mean square in a frame's window."""
    framed = frames(samples, framing, framing.window)
    window = _hann(framing.window)
    power = np.square(framed, dtype=np.float32) @ (window / window.sum()).astype(np.float32)
    return np.sqrt(power)


@lru_cache(maxsize=16)
def filter_bank(mel: Mel) -> F64:
    """Triangles that meet at each other's middles: [F, M]."""
    bins = np.linspace(0, mel.framing.rate / 2, mel.transform // 2 + 1)  # [F]
    to_mel, to_hertz = _SCALES[mel.scale]
    ends = to_mel(np.array([mel.low, mel.high]))
    corners = to_hertz(np.linspace(ends[0], ends[1], mel.bands + 2))  # [M + 2]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - low) / (middle - low)  # [F, M]
    falling = (high - bins[:, None]) / (high - middle)
    out: F64 = np.maximum(0, np.minimum(rising, falling))
    return out * 2 / (high - low) if mel.area else out


def _hann(length: int) -> F64:
    """The periodic one."""
    out: F64 = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return out


def _htk(hertz: F64) -> F64:
    return 2595 * np.log10(1 + hertz / 700)


def _from_htk(mels: F64) -> F64:
    out: F64 = 700 * (10 ** (mels / 2595) - 1)
    return out


_BREAK, _SLOPE = 1000.0, 27 / np.log(6.4)  # Slaney, Auditory Toolbox, 1998


def _slaney(hertz: F64) -> F64:
    return np.where(
        hertz < _BREAK, 3 * hertz / 200, 15 + _SLOPE * np.log(np.maximum(hertz, _BREAK) / _BREAK)
    )


def _from_slaney(mels: F64) -> F64:
    return np.where(mels < 15, 200 * mels / 3, _BREAK * np.exp((mels - 15) / _SLOPE))


_SCALES = {"htk": (_htk, _from_htk), "slaney": (_slaney, _from_slaney)}
