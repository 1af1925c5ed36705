"""Operations that make one element of many, along axes, or a running one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.typing import F32, AnyArray


def _over(function: Callable[..., Any]) -> Callable[..., AnyArray]:
    """axes: none means all."""

    def call(x: AnyArray, axes: AnyArray | None = None, keep_dims: bool = False) -> AnyArray:
        axis = None if axes is None else tuple(int(a) for a in axes)
        return np.asarray(function(x, axis=axis, keepdims=bool(keep_dims)))

    return call


def _one(function: Callable[..., Any]) -> Callable[..., AnyArray]:
    def call(
        x: AnyArray, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
    ) -> AnyArray:
        return np.asarray(function(x, axis=int(axis), keepdims=bool(keep_dims)))

    return call


def _log_sum_exp(x: F32, axis: tuple[int, ...] | None, keepdims: bool) -> AnyArray:
    """The largest is taken out first: exp overflows past 88."""
    top = x.max(axis=axis, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return total if keepdims else total.squeeze(axis)


def cumsum(x: AnyArray, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> AnyArray:
    """Sums up to each element, without itself if exclusive; from the end if reversed."""
    at = int(axis)
    x = np.flip(x, at) if reverse else x
    if exclusive:
        none = np.zeros_like(np.take(x, [0], axis=at))
        x = np.concatenate([none, np.delete(x, -1, axis=at)], axis=at)
    total = np.cumsum(x, axis=at)
    return np.flip(total, at) if reverse else total


OPS: Mapping[str, Callable[..., AnyArray]] = {
    "cumsum": cumsum,
    "reduce_argmax": _one(np.argmax),
    "reduce_argmin": _one(np.argmin),
    "reduce_l1_norm": _over(lambda x, **k: np.abs(x).sum(**k)),
    "reduce_l2_norm": _over(lambda x, **k: np.sqrt((x * x).sum(**k))),
    "reduce_log_sum": _over(lambda x, **k: np.log(x.sum(**k))),
    "reduce_log_sum_exp": _over(_log_sum_exp),
    "reduce_max": _over(np.max),
    "reduce_mean": _over(np.mean),
    "reduce_min": _over(np.min),
    "reduce_prod": _over(np.prod),
    "reduce_sum": _over(np.sum),
    "reduce_sum_square": _over(lambda x, **k: (x * x).sum(**k)),
}
