"""The mean of the last checkpoints of a run, which is what it writes (as OpenELM's is of five: arXiv 2404.14619).

They are never kept one by one: a mean goes along, and each changes it when it is passed.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from edge.errors import EdgeError
from edge.train.recipe import Average
from edge_runtimes.torch.optim import Tensors


class Averaging:
    """Of a run of `total` tokens: its last checkpoint is its end, each of the others so many tokens before the next.
    Without a `recipe` there is none. What it keeps is in `state`.
    """

    def __init__(self, recipe: Average | None, own: Mapping[str, torch.Tensor], total: int) -> None:
        self._own, self._total = own, total
        self._last, self._every = 0, 1.0
        if recipe is not None:
            self._last = recipe.last
            self._every = recipe.every * (1 if recipe.every >= 1 else total)
            if (self._last - 1) * self._every >= total:
                raise EdgeError(
                    f"a run of {total:,} tokens has no {self._last} checkpoints, one every {self._every:,.0f}",
                    fix="take the average of fewer in the recipe, or of nearer ones, or train longer",
                )
        self.state: Tensors = {
            f"average/{name}": torch.zeros_like(weight) for name, weight in self._each()
        }

    def passed(self, tokens: int) -> int:
        """How many of the checkpoints lie before."""
        ahead = math.ceil(max(0, self._total - tokens) / self._every)
        return max(0, self._last - ahead)

    @torch.no_grad()
    def advance(self, before: int, after: int) -> None:
        """Take the weights in, where a checkpoint lies between."""
        count = self.passed(after)
        if new := count - self.passed(before):
            for name, weight in self._each():
                self.state[f"average/{name}"].lerp_(weight, new / count)

    @contextmanager
    def there(self, tokens: int) -> Iterator[None]:
        """With the mean in the weights' place, if any checkpoint was passed."""
        swapped = self.passed(tokens) > 0
        if swapped:
            self._swap()
        try:
            yield
        finally:
            if swapped:
                self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._each():
            mean = self.state[f"average/{name}"]
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    def _each(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self._own.items() if self._last else ())
