"""A batch, or a split of one, and what a step does with it.

B sequences, T positions, L layers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch

from edge.train import batches


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """tokens and parts [B, T + 1]; or [B, R, T + 1], where R rows belong together and skip the same layers."""

    tokens: torch.Tensor
    parts: torch.Tensor

    @property
    def each(self) -> int:
        """How many rows belong together."""
        return self.tokens[0].shape[:-1].numel()

    def split(self, count: int) -> list[Self]:
        splits = (
            {name: t.tensor_split(count)[i] for name, t in self._tensors()} for i in range(count)
        )
        return [replace(self, **tensors) for tensors in splits]

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """The same where `move` brings a tensor."""
        return replace(self, **{name: move(tensor) for name, tensor in self._tensors()})

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipsAndExits:
    """What a step skips and where it exits: kept [L, B]. `seeds` [B]: of what else is random in each sequence."""

    kept: torch.Tensor
    exits: dict[int, float]
    seeds: torch.Tensor

    def split(self, count: int) -> list["SkipsAndExits"]:
        parts = zip(
            self.kept.tensor_split(count, dim=1), self.seeds.tensor_split(count), strict=True
        )
        return [SkipsAndExits(kept=kept, exits=self.exits, seeds=seeds) for kept, seeds in parts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(Batch):
    """`edge.train.batches.Compared`: reference [B, 2]."""

    reference: torch.Tensor


def batch_of(drawn: batches.Batch) -> Batch:
    """What a source drew, as tensors on the CPU."""
    kind = Compared if isinstance(drawn, batches.Compared) else Batch
    own = {field.name: torch.from_numpy(getattr(drawn, field.name)) for field in fields(drawn)}
    return kind(**own)
