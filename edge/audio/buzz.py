"""Something to imitate that is nobody's: a tone with its harmonics, which rises, falls and swells."""

import numpy as np

from edge.audio.sound import Sound

_HERTZ, _HARMONICS = 120.0, 11


def buzz(seconds: float = 3.0, rate: int = 16_000) -> Sound:
    at = np.arange(int(seconds * rate)) / rate
    turns = 2 * np.pi * np.cumsum(_HERTZ * (1 + 0.2 * np.sin(2 * np.pi * at))) / rate
    tone = np.sum([np.sin(k * turns) / k for k in range(1, _HARMONICS + 1)], axis=0)
    samples = 0.1 * tone * (1.5 + np.sin(6 * np.pi * at))
    return Sound(samples=samples.astype(np.float32), rate=rate)
