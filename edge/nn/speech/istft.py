"""Sound from spectra by products alone: no complex numbers, no angle of a pair, no operation that a target lacks.

A frame's spectrum times a Fourier basis under the window is that frame; frames are added where they overlap, and
what windows did to the loudness is divided away: torch.istft, and exactly so. B batch, F frames, N samples of a
window, K = N / 2 + 1 frequencies, H samples from one window to the next.
"""

from collections.abc import Callable

import numpy as np

from edge.nn.composed import Composed
from edge.ops import Array
from edge.typing import F32, F64

LEAST = 1e-3  # of the squared windows: half precision has no smaller number worth dividing by


def istft(
    ops: Composed[Array],
    real: Array,
    imaginary: Array,
    frames: Array,
    *,
    window: int,
    hop: int,
    skip: int,
) -> Array:
    """real and imaginary [B, F, K], frames [B, F, 1]: 1 where one counts -> [B, F, H], what comes after `skip`
    samples: half a window, as torch's centred frames have it, or (N - H) / 2.
    """
    parts, half = window // hop, window // 2 + 1
    assert parts * hop == window, f"windows of {window} samples, {hop} apart"
    basis = _const(ops, "basis", window, (2 * half, window), lambda: basis_of(window))
    x = ops.matmul(ops.mul(ops.concat(real, imaginary), frames), basis)
    weight = _const(ops, "weight", window, (window,), lambda: hann(window) ** 2)
    sound, loud = (
        ops.pad(ops.overlap(a, stride=hop, parts=parts, width=1), 1, -skip, skip - window + hop)
        for a in (x, ops.mul(frames, weight))
    )
    out = ops.pair("div", sound, ops.pair("max", loud, LEAST))
    return ops.mul(ops.reshape(out, 0, -1, hop), frames)


def _const(
    ops: Composed[Array], what: str, window: int, shape: tuple[int, ...], make: Callable[[], F64]
) -> Array:
    def made() -> F32:
        return make().astype(np.float32)

    return ops.const(f"istft.{what}.{window}", shape, made)


def hann(count: int) -> F64:
    """The periodic one."""
    found: F64 = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    return found


def basis_of(window: int) -> F64:
    """A frame of real and imaginary parts, under the window: [2 K, N]. The first and the last frequency are there
    once, all others twice.
    """
    half = window // 2 + 1
    turns = 2 * np.pi * np.outer(np.arange(half), np.arange(window)) / window
    times = np.where((np.arange(half) == 0) | (np.arange(half) == window // 2), 1.0, 2.0)
    scale = times[:, None] / window * hann(window)
    found: F64 = np.concatenate([np.cos(turns) * scale, -np.sin(turns) * scale])
    return found
