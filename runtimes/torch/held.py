"""How a run's weights lie over its processes: whole in each (here), or a shard in each (`sharded`)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, TypeVarTuple

import torch

from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.shared import Matrix

Given = TypeVarTuple("Given")
Made = TypeVar("Made")
Weights = Mapping[str, torch.Tensor | Matrix]


class Through(Protocol):
    """Calls a function while the weights of a layer, or with None those of the whole outside its layers, are there."""

    def __call__(
        self, layer: int | None, function: Callable[[*Given], Made], *given: *Given
    ) -> Made: ...


class Held(Protocol):
    """`weights`: what operations multiply by; `own`: what of them, or beside them, this process steps and saves, of
    which it holds the rows of each weight in turn: the first process the first ones.
    """

    own: dict[str, torch.Tensor]
    shapes: Mapping[str, torch.Size]  # of whole weights
    shard: int  # this process's, of so many shards
    shards: int
    side_by_side: bool  # whether several threads may pass through them at once

    @property
    def weights(self) -> Weights: ...

    def seen(self, seeds: torch.Tensor) -> Weights:
        """`weights` in a pass of sequences with these seeds [B], where something random is in it."""
        ...

    @property
    def through(self) -> Through: ...

    def collect(self, still: Collection[str]) -> None:
        """Gradients of all processes, added up, become those of `own`, but of weights that stay `still`; zero where
        nothing passed through a layer.
        """
        ...

    def whole(self, name: str, own: torch.Tensor) -> torch.Tensor:
        """From what each process has of a weight, or of what is as large as it: asked in every process."""
        ...

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        """This process's rows."""
        ...


def directly(layer: int | None, function: Callable[[*Given], Made], *given: *Given) -> Made:
    """`Through` of weights that are always there."""
    return function(*given)


class Whole:
    """Every process has all weights."""

    through: Through = staticmethod(directly)
    shard, shards, side_by_side = 0, 1, True

    def __init__(self, weights: Iterable[tuple[str, torch.Tensor]], ranks: Ranks) -> None:
        self.own = {name: weight.to(ranks.device).requires_grad_() for name, weight in weights}
        self.weights: Weights = self.own
        self.shapes: Mapping[str, torch.Size] = {
            name: weight.shape for name, weight in self.own.items()
        }
        self._ranks = ranks

    def seen(self, seeds: torch.Tensor) -> Weights:
        return self.weights

    def collect(self, still: Collection[str]) -> None:
        self._ranks.add_up(
            _gradient(weight) for name, weight in self.own.items() if name not in still
        )

    def whole(self, name: str, own: torch.Tensor) -> torch.Tensor:
        return own

    def cut(self, whole: torch.Tensor) -> torch.Tensor:
        return whole


class Gathered(Mapping[str, torch.Tensor]):
    """Whole weights, each put together when it is asked for: in every process, in one order."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._held.whole(name, self._held.own[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._held.own)

    def __len__(self) -> int:
        return len(self._held.own)


def rows_of(count: int, shard: int, shards: int) -> range:
    """The rows of a weight that lie in one of the shards: as many as in any other, or at the end fewer or none."""
    each = -(-count // shards)
    return range(min(shard * each, count), min((shard + 1) * each, count))


def _gradient(weight: torch.Tensor) -> torch.Tensor:
    """Nothing passed through a layer that every sequence skipped: its gradient is zero."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def below(weights: Mapping[str, torch.Tensor], network: str) -> dict[str, torch.Tensor]:
    """Of the weights of several networks, each under `NETWORK/NAME`, those of one, by their names in it."""
    at = f"{network}/"
    return {
        name.removeprefix(at): weight for name, weight in weights.items() if name.startswith(at)
    }
