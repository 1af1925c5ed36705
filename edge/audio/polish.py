"""Sound whose mel bands are nearly those that it should have, brought nearer: in each round every frequency is taken so
many times as the bands that it lies in are short of, and the frames are added again, which makes their phases fit
each other (Griffin & Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 1984, on bands;
the momentum is of Perraudin, Balazs & Soendergaard, "A fast Griffin-Lim algorithm", WASPAA 2013). Nothing is learned.

N samples, T frames of H samples, W samples a window, F frequencies, M mel bands.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge.audio.spectra import Mel, filter_bank, frames
from edge.typing import F32

C64 = NDArray[np.complex64]
MOMENTUM = np.float32(0.9)
MOST = 4.0  # times louder, or softer, in a round
_NOTHING = 1e-6  # of a band, or of what bands make of a frequency


def reach(mel: Mel, rounds: int) -> int:
    """Frames on each side that a frame's samples depend on: a window's, in every round."""
    return rounds * (mel.framing.window // mel.framing.hop) + 1 if rounds else 0


def polished(samples: F32, bands: F32, mel: Mel, rounds: int) -> F32:
    """[N = T H] and the log mel bands [T, M] that they should have -> [N]. A sound too short to be framed stays."""
    framing = mel.framing
    assert framing.padding == "same", "a frame is a hop of the sound"
    assert framing.window % framing.hop == 0, "windows are whole hops"
    if not rounds or samples.size <= mel.transform // 2:
        return samples
    wanted = np.exp(bands)  # [T, M]
    filters, shares, loose = _bank(mel)
    x = before = _spectra(samples, mel)
    for number in range(rounds):
        there = np.maximum(np.abs(x) @ filters, _NOTHING)  # [T, M]
        gains = np.clip(wanted / there, 1 / MOST, MOST) @ shares  # [T, F]
        gains[:, loose] = 1
        samples = _added(x * gains, mel)
        if number + 1 < rounds:
            now = _spectra(samples, mel)
            x = now + MOMENTUM * (now - before) if number else now
            before = now
    return samples


@lru_cache(maxsize=4)
def _bank(mel: Mel) -> tuple[F32, F32, NDArray[np.bool_]]:
    """Filters [F, M]; what each band has to say of a frequency [M, F]; the frequencies that none says anything of."""
    filters = filter_bank(mel).astype(np.float32)
    sums = filters.sum(1, keepdims=True)
    shares = (filters / np.maximum(sums, _NOTHING)).T
    return filters, np.ascontiguousarray(shares), sums[:, 0] <= _NOTHING


@lru_cache(maxsize=4)
def _window(mel: Mel) -> F32:
    count = mel.framing.window
    made: F32 = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)).astype(np.float32)
    return made


def _spectra(samples: F32, mel: Mel) -> C64:
    """[N] -> [T, F], as `edge.audio.spectra.log_mel` has them."""
    before = (mel.transform - mel.framing.window) // 2
    windowed = np.zeros((samples.size // mel.framing.hop, mel.transform), np.float32)
    inner = slice(before, before + mel.framing.window)
    windowed[:, inner] = frames(samples, mel.framing, mel.transform)[:, inner] * _window(mel)
    found: C64 = np.fft.rfft(windowed).astype(np.complex64)
    return found


def _added(x: C64, mel: Mel) -> F32:
    """[T, F] -> [T H]: frames under their windows, added where they overlap, by what windows did to the loudness."""
    hop, window = mel.framing.hop, mel.framing.window
    before, parts = (mel.transform - window) // 2, window // hop
    shape = _window(mel)  # [W]
    whole: F32 = np.fft.irfft(x, mel.transform).astype(np.float32)
    made = whole[:, before : before + window] * shape
    count = len(x)
    sound: F32 = np.zeros((count + parts - 1, hop), np.float32)
    loud: F32 = np.zeros_like(sound)
    squares = np.square(shape).reshape(parts, hop)
    for part in range(parts):
        sound[part : part + count] += made[:, part * hop : (part + 1) * hop]
        loud[part : part + count] += squares[part]
    skip = (window - hop) // 2
    sound /= np.maximum(loud, 1e-3)
    return sound.reshape(-1)[skip : skip + count * hop]
