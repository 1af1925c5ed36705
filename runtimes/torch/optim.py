"""Muon for the layers' matrices, Adam for the rest; or Adam for all.

Muon (Jordan et al. 2024, arXiv 2502.16982): momentum, orthogonalized by five Newton-Schulz steps. Matrices of one shape
are stepped together: N of them, [N, R, C].
"""

from collections.abc import Container
from typing import Literal

import torch

from edge.train.course import is_matrix
from edge_runtimes.torch.held import Held
from edge_runtimes.torch.narrow import product_type

Tensors = dict[str, torch.Tensor]

MOMENTUM = 0.95
BETAS = (0.9, 0.95)
EPS = 1e-8


class Optimizer:
    """State is a flat dict of tensors by name, so that it can be saved as they are; of weights that lie in shards, it
    has the same rows.
    """

    def __init__(self, held: Held, matrices: Literal["muon", "adam"] = "muon") -> None:
        weights = held.own
        self._held, self.weights = held, weights
        stacked = [
            name for name, w in weights.items() if matrices == "muon" and is_matrix(name, w.ndim)
        ]
        self.state: Tensors = {}
        groups: dict[torch.Size, list[str]] = {}
        for name, weight in weights.items():
            if name in stacked:
                groups.setdefault(held.shapes[name], []).append(name)
                self.state[f"momentum/{name}"] = torch.zeros_like(weight)
            else:
                self.state[f"mean/{name}"] = torch.zeros_like(weight)
                self.state[f"square/{name}"] = torch.zeros_like(weight)
        self._groups = list(groups.values())
        self._others = [name for name in weights if name not in stacked]

    @torch.no_grad()
    def step(
        self,
        count: int,
        *,
        matrix: float,
        other: float,
        shrink: float,
        still: Container[str] = frozenset(),
    ) -> None:
        """One update from the weights' gradients, which are then dropped; `count` starts at 1. `still`: weights that
        stay as they are, and so does what is remembered of their gradients.
        """
        for group in self._groups:
            names = [name for name in group if name not in still]
            if names:
                self._muon(names, matrix, shrink)
        for name in self._others:
            if name in still:
                continue
            if is_matrix(name, self.weights[name].ndim):
                self.weights[name].mul_(1 - matrix * shrink)
                self._adam(name, matrix, count)
            else:
                self._adam(name, other, count)
        for weight in self.weights.values():
            weight.grad = None

    def _muon(self, names: list[str], rate: float, shrink: float) -> None:
        gradients = []
        for name in names:
            gradient, momentum = _gradient(self.weights[name]), self.state[f"momentum/{name}"]
            momentum.lerp_(gradient, 1 - MOMENTUM)
            ahead = gradient.lerp(momentum, MOMENTUM)  # as Nesterov does
            gradients.append(self._held.whole(name, ahead))
        stacked = orthogonal(torch.stack(gradients))
        rows, columns = stacked.shape[1:]
        scale = max(1.0, rows / columns) ** 0.5
        for name, update in zip(names, stacked, strict=True):
            own = self._held.cut(update)
            self.weights[name].mul_(1 - rate * shrink).sub_(own, alpha=rate * scale)

    def _adam(self, name: str, rate: float, count: int) -> None:
        weight = self.weights[name]
        gradient = _gradient(weight)
        mean = self.state[f"mean/{name}"].lerp_(gradient, 1 - BETAS[0])
        square = self.state[f"square/{name}"].lerp_(gradient.square(), 1 - BETAS[1])
        scale = (square / (1 - BETAS[1] ** count)).sqrt_().add_(EPS)
        weight.addcdiv_(mean, scale, value=-rate / (1 - BETAS[0] ** count))


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """[N, R, C] -> nearly the nearest matrices with singular values of one."""
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan's quintic: steepest at zero
    flip = x.shape[1] > x.shape[2]
    kind = product_type(x.device.type)
    y = (x.mT if flip else x).to(kind)
    y = y / (torch.linalg.matrix_norm(y.float(), keepdim=True).to(kind) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    found: torch.Tensor = y.mT if flip else y
    return found.to(x.dtype)


def _gradient(weight: torch.Tensor) -> torch.Tensor:
    """A weight that this step did not use has none: then zero."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
