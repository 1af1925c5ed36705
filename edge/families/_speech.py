"""What checkpoints of speech share: convolutions as products have them, with their norm folded in."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge.families import Pipeline, Stage, Wire
from edge.families._fields import Fields
from edge.families._vision import biased
from edge.files.config import Config
from edge.names import Made
from edge.nn.speech.convnext import KERNEL
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


G, V = "parametrizations.weight.original0", "parametrizations.weight.original1"
SPELLINGS = (
    (G, "weight_g"),
    (V, "weight_v"),
)  # of torch before 2.0, and of what was published then


def weighed(
    tensor: str, kernel: Number, form: Callable[[F32], F32], *, turns: bool = False
) -> Made:
    """A convolution whose rows have a length of their own (weight norm, arXiv 1602.07868), folded into it. `form`:
    what becomes of [O, C, k], or if it `turns` of [C, O, k].
    """

    def stored(config: Any, weight: Shape) -> tuple[Shape, ...]:
        taps = kernel(config)
        if len(weight) == 3:  # a kernel as it is
            return (weight[0], 1, 1), weight
        rows, columns = (weight[1], weight[0] // taps) if turns else (weight[0], weight[1] // taps)
        return (rows, 1, 1), (rows, columns, taps)

    def made(_config: Any, length: F32, direction: F32) -> F32:
        norm = np.sqrt((direction.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
        return form((direction * (length / norm)).astype(np.float32))

    return Made((f"{tensor}.{G}", f"{tensor}.{V}"), stored, made)


def same(weight: F32) -> F32:
    return weight


_LAYER = "backbone.convnext.{i}"
# ConvNeXt's layers as Vocos names them.
BACKBONE: Mapping[str, str | Made] = {
    "input": conv("backbone.embed.weight", lambda _config: KERNEL),
    "input.bias": "backbone.embed.bias",
    "layers.{i}.conv": f"{_LAYER}.dwconv.weight",
    "layers.{i}.conv.bias": f"{_LAYER}.dwconv.bias",
    "layers.{i}.scale": f"{_LAYER}.gamma",
    **biased(
        {
            "layers.{i}.norm": f"{_LAYER}.norm",
            "layers.{i}.up": f"{_LAYER}.pwconv1",
            "layers.{i}.down": f"{_LAYER}.pwconv2",
            "first": "backbone.norm",
            "norm": "backbone.final_layer_norm",
        }
    ),
}


def codec(name: str, fields: Fields) -> Pipeline:
    """An encoder, its books and a decoder in one checkpoint, as transformers keeps codecs."""

    def part(model_type: str) -> Callable[[Config], Config]:
        return lambda whole: Config({**whole.data, "model_type": model_type}, whole.where)

    return Pipeline(
        name=name,
        model_types=(name,),
        fields=fields,
        stages=tuple(
            Stage(name=stage, prefix=f"{stage}.", config=part(f"{name}_{stage}"))
            for stage in ("encoder", "quantizer", "decoder")
        ),
        wires=(
            Wire(("encoder", "latent"), ("decoder", "latent")),
            Wire(("quantizer", "latent"), ("decoder", "latent")),
        ),
        settings=lambda whole: {"sampling_rate": whole.integer("sampling_rate")},
    )
