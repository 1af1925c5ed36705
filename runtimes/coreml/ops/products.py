"""Matrix products."""

from collections.abc import Callable, Mapping

import numpy as np

from edge.typing import F32, AnyArray
from edge_runtimes.coreml.types import bounded


def linear(x: F32, weight: F32, bias: F32 | None = None) -> F32:
    """x [..., K] by weight [N, K] -> [..., N]."""
    bounded((*x.shape[:-1], len(weight)))
    out = x @ weight.T
    return out if bias is None else out + bias.reshape(len(weight))


def matmul(x: F32, y: F32, transpose_x: bool = False, transpose_y: bool = False) -> F32:
    x = np.swapaxes(x, -1, -2) if transpose_x else x
    y = np.swapaxes(y, -1, -2) if transpose_y else y
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    bounded((*batch, *x.shape[-2:-1], *(y.shape[-1:] if y.ndim > 1 else ())))
    return x @ y


def einsum(values: list[F32], equation: str) -> F32:
    """The two equations that MIL has: [C, H, W] or [N, C, H, W] by [W, H, U] or [N, W, H, U]."""
    x, y = values
    if equation.replace(" ", "").count(",") != 1 or x.ndim not in (3, 4) or x.ndim != y.ndim:
        raise ValueError(f"einsum of {x.ndim} dimensions: {equation!r:.40}")
    batch = np.broadcast_shapes(x.shape[:-3], y.shape[:-3])
    bounded((*batch, *x.shape[-3:-1], y.shape[-1]))
    return np.einsum("...chw,...whu->...chu", x, y, optimize=True)


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "linear": linear,
    "matmul": matmul,
    "einsum": einsum,
}
