"""Weights with an adapter beside them: `edge.adapters.branches`.

N rows, K columns, R rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from edge.adapters.branches import Branch, Branches
from edge_runtimes.torch.shared import Matrix, product, taken
from edge_runtimes.torch.weights import Weight, first


@dataclass(frozen=True, slots=True)
class Adapted:
    """A weight [N, K], down [R, K], up [N, R] and gain [N], or none. Rows that are looked up are the weight's own."""

    base: Weight
    down: torch.Tensor
    up: torch.Tensor
    gain: torch.Tensor | None

    @classmethod
    def of(
        cls, base: Weight, branch: Branch, *, dtype: torch.dtype, device: torch.device
    ) -> "Adapted":
        down, up = (torch.from_numpy(part).to(device, dtype) for part in (branch.down, branch.up))
        gain = None if branch.gain is None else torch.from_numpy(branch.gain).to(device)
        return cls(base, down, up, gain)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return taken(self.base, rows)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        own = product(x, self.base, None)[..., : len(self.up)]  # the first rows may be some more
        both = own + F.linear(F.linear(x, self.down), self.up)
        return both if self.gain is None else (both * self.gain).to(both.dtype)

    def first(self, rows: int) -> Matrix:
        gain = None if self.gain is None else self.gain[:rows]
        return Adapted(first(self.base, rows), self.down, self.up[:rows], gain)


def adapted(
    weights: Mapping[str, Weight],
    branches: Branches | None,
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Weight]:
    """Weights by name, those that an adapter is of with it beside them."""
    out = dict(weights)
    for name, branch in () if branches is None else branches.of.items():
        out[name] = Adapted.of(out[name], branch, dtype=dtype, device=device)
    return out
