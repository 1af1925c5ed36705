"""Convolution and pooling: operations on windows of an image or a sequence.

B batch, C input channels, N output channels, and the sizes that windows slide over.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge.typing import F32, AnyArray
from edge_runtimes.coreml.types import bounded


def conv(
    x: F32,
    weight: F32,
    bias: F32 | None = None,
    strides: AnyArray | None = None,
    pad_type: str = "valid",
    pad: AnyArray | None = None,
    dilations: AnyArray | None = None,
    groups: int = 1,
) -> F32:
    """x [B, C, ...], weight [N, C / groups, ...] -> [B, N, ...]."""
    spatial = x.ndim - 2
    steps, gaps = _ints(strides, [1] * spatial), _ints(dilations, [1] * spatial)
    kernel = weight.shape[2:]
    spans = [gap * (size - 1) + 1 for gap, size in zip(gaps, kernel, strict=True)]
    padding = _padding(pad_type, pad, x.shape, spans, steps)
    x = np.pad(x, padding)
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, x.ndim)))
    picked = [slice(None), slice(None), *(slice(None, None, s) for s in steps)]
    picked += [slice(None, None, gap) for gap in gaps]
    windows = windows[tuple(picked)]  # [B, C, out..., kernel...]
    size = windows.shape[2 : 2 + spatial]
    count = int(groups)
    bounded((len(x), *size, x.shape[1], *kernel))
    bounded((len(x), len(weight), *size))
    rows = np.moveaxis(windows, 1, 1 + spatial)  # [B, out..., C, kernel...]
    rows = rows.reshape(len(x), int(np.prod(size)), count, -1)
    matrix = weight.reshape(count, len(weight) // count, -1)
    out = np.einsum("btgk,gnk->bgnt", rows, matrix, optimize=True)
    out = out.reshape(len(x), len(weight), *size)
    return out if bias is None else out + bias.reshape(len(weight), *[1] * spatial)


def max_pool(
    x: F32,
    kernel_sizes: AnyArray,
    strides: AnyArray | None = None,
    pad_type: str = "valid",
    pad: AnyArray | None = None,
    ceil_mode: bool = False,
) -> F32:
    windows = _pooled(x, kernel_sizes, strides, (pad_type, pad, ceil_mode), fill=-np.inf)
    return windows.max(axis=tuple(range(x.ndim, windows.ndim)))


def avg_pool(
    x: F32,
    kernel_sizes: AnyArray,
    strides: AnyArray | None = None,
    pad_type: str = "valid",
    pad: AnyArray | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> F32:
    how = (pad_type, pad, ceil_mode)
    windows = _pooled(x, kernel_sizes, strides, how, fill=0)
    total: F32 = windows.sum(axis=tuple(range(x.ndim, windows.ndim)))
    if not exclude_padding_from_average:
        return total / np.float32(np.prod(kernel_sizes))
    ones = _pooled(np.ones_like(x), kernel_sizes, strides, how, fill=0)
    return total / ones.sum(axis=tuple(range(x.ndim, ones.ndim)))


def _pooled(
    x: F32,
    kernel_sizes: AnyArray,
    strides: AnyArray | None,
    how: tuple[str, AnyArray | None, bool],
    *,
    fill: float,
) -> F32:
    """Every window: [B, C, out..., kernel...]."""
    kernel = _ints(kernel_sizes, [])
    steps = _ints(strides, [1] * len(kernel))
    pad_type, pad, ceil_mode = how
    if ceil_mode:
        raise ValueError("pooling with ceil_mode")
    padding = _padding(pad_type, pad, x.shape, kernel, steps)
    x = np.pad(x, padding, constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in steps))]
    bounded(windows.shape)
    return windows


def _padding(
    kind: str,
    pad: AnyArray | None,
    shape: Sequence[int],
    spans: Sequence[int],
    steps: Sequence[int],
) -> list[tuple[int, int]]:
    """Elements before and after, along each axis of x [B, C, ...]; windows slide over the last ones."""
    if min(*spans, *steps) < 1:
        raise ValueError(f"windows of {list(spans)} in steps of {list(steps)}")
    pairs = [(0, 0), (0, 0), *_sides(kind, pad, shape[2:], spans, steps)]
    bounded(tuple(size + a + b for size, (a, b) in zip(shape, pairs, strict=True)))
    return pairs


def _sides(
    kind: str,
    pad: AnyArray | None,
    sizes: Sequence[int],
    spans: Sequence[int],
    steps: Sequence[int],
) -> list[tuple[int, int]]:
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        flat = _ints(pad, [0] * (2 * len(sizes)))
        return list(zip(flat[::2], flat[1::2], strict=True))
    if kind not in ("same", "same_lower"):
        raise ValueError(f"no padding {kind!r:.40}")
    missing = [
        max(0, (-(-size // step) - 1) * step + span - size)
        for size, span, step in zip(sizes, spans, steps, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in missing]
    return halves if kind == "same" else [(b, a) for a, b in halves]


def _ints(values: AnyArray | None, default: Sequence[int]) -> list[int]:
    return list(default) if values is None else [int(v) for v in values]


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "conv": conv,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
}
