"""What checkpoints of speech share: convolutions as products have them, with their norm folded in."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edge.names import Made
from edge.typing import F32, Shape

Number = Callable[[Any], int]  # of a network's config


def conv(tensor: str, kernel: Number) -> Made:
    """A convolution [O, C, k] whose weight is [O, k C], tap by tap."""

    def stored(config: Any, weight: Shape) -> tuple[Shape, ...]:
        taps = kernel(config)
        return ((weight[0], weight[1] // taps, taps),)

    def parts(config: Any, weight: F32) -> tuple[F32, ...]:
        rows = weight.reshape(len(weight), kernel(config), -1)
        return (np.ascontiguousarray(rows.transpose(0, 2, 1)),)

    return Made((tensor,), stored, lambda _config, weight: flat(weight), parts)


def point(tensor: str) -> Made:
    """A convolution of one tap."""
    return conv(tensor, lambda _config: 1)


def transposed(tensor: str, kernel: Number) -> Made:
    """A transposed convolution [C, O, k] whose weight is [k O, C], tap by tap."""

    def stored(config: Any, weight: Shape) -> tuple[Shape, ...]:
        taps = kernel(config)
        return ((weight[1], weight[0] // taps, taps),)

    def parts(config: Any, weight: F32) -> tuple[F32, ...]:
        rows = weight.reshape(kernel(config), -1, weight.shape[1])
        return (np.ascontiguousarray(rows.transpose(2, 1, 0)),)

    return Made((tensor,), stored, lambda _config, weight: turned(weight), parts)


def vector(tensor: str) -> Made:
    """A weight [C] that lies there as [1, C, 1]."""
    return Made(
        (tensor,),
        lambda _config, weight: ((1, *weight, 1),),
        lambda _config, weight: weight.reshape(-1),
        lambda _config, weight: (weight.reshape(1, -1, 1),),
    )


def columns(tensor: str) -> Made:
    """A table [N, D] whose rows are chosen by a product: [D, N]."""
    return Made(
        (tensor,),
        lambda _config, weight: (weight[::-1],),
        lambda _config, weight: np.ascontiguousarray(weight.T),
        lambda _config, weight: (np.ascontiguousarray(weight.T),),
    )


def flat(weight: F32) -> F32:
    """[O, C, k] -> [O, k C]."""
    return weight.transpose(0, 2, 1).reshape(len(weight), -1)


def turned(weight: F32) -> F32:
    """[C, O, k] -> [k O, C]."""
    return weight.transpose(2, 1, 0).reshape(-1, len(weight))
