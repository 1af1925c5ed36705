"""Codes that a checkpoint was trained to have: where every weight of a layer's matrices is one of three values of its
group, two bits lose nothing, and four would only be larger.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from edge.errors import Unsupported
from edge.names import shapes
from edge.quant.fitting import each_by_name
from edge.quant.methods import methods
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge.source.checkpoint import Checkpoint
from edge.typing import F32

_GROUPS = (128, 64, 32)
_FEW = 4  # rows of each matrix that are looked at before all are


def as_trained(
    checkpoint: Checkpoint, recipe: Recipe, fitted: Recipe, holds: Callable[[Recipe], object]
) -> Recipe:
    """`fitted`, which a short name came to; or instead, in two bits, every matrix of the layers that no pattern of
    `recipe` names, if none of them loses anything by it and a target `holds` it, which refuses with Unsupported.
    """
    names = [
        name
        for name, shape in shapes(checkpoint.decoder).items()
        if name.startswith("layers.") and len(shape) == 2
        if not any(fnmatchcase(name, pattern) for pattern, _ in recipe.overrides)
    ]
    for group in _GROUPS:
        scheme = Scheme(2, group, "middle", fitted.body.number, "ternary")
        if not names or not all(_kept(_first(checkpoint, name), scheme) for name in names):
            continue
        ends = replace(fitted, body=scheme, overrides=recipe.overrides)
        found = each_by_name(ends, dict.fromkeys(names, scheme))
        try:
            holds(found)
        except Unsupported:
            continue
        if all(_kept(checkpoint.blocks(name), scheme) for name in names):
            return found
    return fitted


def _first(checkpoint: Checkpoint, name: str) -> Iterable[F32]:
    for block in checkpoint.blocks(name):
        yield block[:_FEW]
        return


def _kept(blocks: Iterable[F32], scheme: Scheme) -> bool:
    """Whether a scheme's codes mean just these weights."""
    made = methods()[scheme.method].quantize
    return all(np.array_equal(made(block, scheme).dequantize(), block) for block in blocks)
