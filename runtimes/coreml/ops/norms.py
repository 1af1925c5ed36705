"""Normalizations."""

from collections.abc import Callable, Mapping

import numpy as np

from edge.typing import F32, AnyArray


def layer_norm(
    x: F32,
    axes: AnyArray | None = None,
    gamma: F32 | None = None,
    beta: F32 | None = None,
    epsilon: float = 1e-5,
) -> F32:
    """x less its mean, over the root of its variance, along axes; gamma and beta lie along them."""
    along = tuple(range(x.ndim) if axes is None else sorted(int(a) % x.ndim for a in axes))
    centred = x - x.mean(axis=along, keepdims=True)
    variance = (centred * centred).mean(axis=along, keepdims=True)
    shape = [size if axis in along else 1 for axis, size in enumerate(x.shape)]
    return _scaled(centred / np.sqrt(variance + float(epsilon)), gamma, beta, shape)


def batch_norm(
    x: F32,
    mean: F32,
    variance: F32,
    gamma: F32 | None = None,
    beta: F32 | None = None,
    epsilon: float = 1e-5,
) -> F32:
    """x [B, C, ...] with the mean and variance [C] of the training data."""
    shape = [1, int(x.shape[1]), *[1] * (x.ndim - 2)]
    centred = x - mean.reshape(shape)
    spread = variance.reshape(shape) + np.float32(float(epsilon))
    return _scaled(centred / np.sqrt(spread), gamma, beta, shape)


def instance_norm(
    x: F32, gamma: F32 | None = None, beta: F32 | None = None, epsilon: float = 1e-5
) -> F32:
    """x [B, C, ...] with the mean and variance of each channel of each element of the batch."""
    along = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=along, keepdims=True)
    variance = (centred * centred).mean(axis=along, keepdims=True)
    shape = [1, x.shape[1], *[1] * (x.ndim - 2)]
    return _scaled(centred / np.sqrt(variance + float(epsilon)), gamma, beta, shape)


def _scaled(x: F32, gamma: F32 | None, beta: F32 | None, shape: list[int]) -> F32:
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "layer_norm": layer_norm,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
}
