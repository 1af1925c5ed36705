"""Loudness that joins well and fits a file: sound bent below full scale, silence that comes without a click."""

import numpy as np

from edge.typing import F32

KNEE = 0.9  # of full scale, below which nothing is changed


def limited(samples: F32) -> F32:
    """[N] -> [N], between -1 and 1: what is louder than the knee nears full scale and never reaches it, so that nothing
    is cut off. A sample's new value depends on it alone: pieces are what the whole is.
    """
    room = np.float32(1 - KNEE)
    over = np.maximum(np.abs(samples) - np.float32(KNEE), 0)
    if not over.any():
        return samples
    bent = np.float32(KNEE) + room * np.tanh(over / room)
    out: F32 = np.where(over > 0, np.copysign(bent, samples), samples).astype(np.float32)
    return out


def fade(count: int) -> F32:
    """[count], rising from 0 towards 1 as a raised cosine; backwards, and from 1 taken away, it falls as it rises."""
    at = (np.arange(count) + 0.5) / max(1, count)
    out: F32 = (0.5 - 0.5 * np.cos(np.pi * at)).astype(np.float32)
    return out


def gate(heard: F32, hop: int, fading: int) -> F32:
    """heard [T], whether a frame is, 1 or 0 -> gains of samples [T hop]: zero in frames that are not, with fades of so
    many samples within those that are, and at both ends of all.
    """
    fading = min(fading, hop // 2)
    edged = np.concatenate([[0], heard, [0]]).astype(np.int8)
    gains: F32 = np.repeat(heard.astype(np.float32), hop)
    rise = fade(fading)
    for frame in np.flatnonzero(np.diff(edged) == 1):
        gains[frame * hop : frame * hop + fading] = rise
    for frame in np.flatnonzero(np.diff(edged) == -1):
        gains[frame * hop - fading : frame * hop] = rise[::-1]
    return gains


def joined(first: F32, second: F32, over: int) -> F32:
    """One after the other, the last `over` samples of the first under the first ones of the second."""
    over = min(over, first.size, second.size)
    if not over:
        return np.concatenate([first, second])
    rise = fade(over)
    both = first[-over:] * (1 - rise) + second[:over] * rise
    return np.concatenate([first[: first.size - over], both, second[over:]])
