"""Where the networks of speech start: norms and gains keep what they get, and the last product is zero, so that a
network begins with nothing.
"""

from collections.abc import Mapping

import torch

from edge.net import NetSpec
from edge.typing import Shape

_SPREAD = {"table": 1.0, "queries": 1.0, "rows": 0.3}  # rows that are looked up
_GAINS = ("norm", "gain")  # by what names end


def initial(spec: NetSpec, seed: int) -> dict[str, torch.Tensor]:
    """Random weights by canonical name."""
    rng, shapes = torch.Generator().manual_seed(seed), spec.config.shapes()
    return {
        name: _matrix(name, shape, rng) if len(shape) > 1 else _vector(name, shapes)
        for name, shape in shapes.items()
    }


def _matrix(name: str, shape: Shape, rng: torch.Generator) -> torch.Tensor:
    if name == "output":
        return torch.zeros(shape)
    spread = _SPREAD.get(name, shape[-1] ** -0.5)
    small = 0.1 if name.endswith((*_GAINS, "shift")) else 1.0
    return torch.randn(shape, generator=rng) * spread * small


def _vector(name: str, shapes: Mapping[str, Shape]) -> torch.Tensor:
    """A norm's weight, or of what is added to a product, zeros: but ones of a gain, and of the half of a styled norm
    that scales.
    """
    own = name.removesuffix(".bias")
    (size,) = shapes[name]
    gains = own.endswith(_GAINS)
    if own == name or (gains and len(shapes[own]) == 2 and own.endswith("gain")):
        return torch.ones(size)
    styled = gains and len(shapes[own]) == 2
    half = size // 2 if styled else 0
    return torch.cat([torch.ones(half), torch.zeros(size - half)])
