"""A checkpoint whose weights stay as they are, and an adapter beside them that learns (`edge.train.adapter`).

A module of the checkpoint may be several weights here: each takes its rows of one `up`, and `down` is of all, so that
what is written is what PEFT trains. N rows of a module, K columns, r the rank.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from zlib import crc32

import torch
import torch.nn.functional as F

from edge.adapters.value import Adapter, Delta
from edge.names import Rows, shapes
from edge.nn.tracing import matrices
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.train.adapter import AdapterRecipe, Module, modules
from edge.train.origin import Origin
from edge_runtimes.torch.export import DTYPES
from edge_runtimes.torch.frozen import Frozen, FrozenCodes, floats, product
from edge_runtimes.torch.held import Whole
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.shared import Matrix

Weight = torch.Tensor | Matrix
SAY_EVERY = 20.0  # seconds, while weights are read and rounded


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is trained of a module: down [r, K], up [N, r], lengths of rows [N] or none. `pooled` and `spread`, a number
    each or none: how much of the inputs' means passes `down` by, and of what it makes passes `up` by (the elastic
    connection of IR-QLoRA, arXiv 2402.05445, section 3.3).
    """

    scale: float
    down: torch.Tensor
    up: torch.Tensor
    magnitude: torch.Tensor | None = None
    pooled: torch.Tensor | None = None
    spread: torch.Tensor | None = None

    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """down and up, in which the connection is: means are products, too."""
        if self.pooled is None or self.spread is None:
            return self.down, self.up
        (rank, columns), rows = self.down.shape, len(self.up)
        down = self.down + self.pooled * means(rank, columns, self.down.device)
        return down, self.up + self.spread * means(rows, rank, self.up.device)

    def delta(self) -> Delta:
        down, up = (part.detach().float().cpu().numpy() for part in self.both())
        lengths = None if self.magnitude is None else self.magnitude.detach().float().cpu().numpy()
        return Delta(down, up, self.scale, lengths)


@cache
def means(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """[rows, columns] by which numbers are multiplied to get their means: of as many equal runs of them as divide
    both, each given to a run of rows.
    """
    runs = math.gcd(rows, columns)
    each = torch.eye(runs, device=device) * (runs / columns)
    return each.repeat_interleave(rows // runs, 0).repeat_interleave(columns // runs, 1)


@dataclass(frozen=True, slots=True)
class Adapted:
    """`edge_runtimes.torch.shared.Matrix`: a frozen weight, and its rows of what a module learns."""

    base: Frozen | FrozenCodes
    learned: LowRank
    rows: Rows  # of the module; none: all
    drop: "Drop | None" = None

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no table is adapted")

    def product(self, x: torch.Tensor) -> torch.Tensor:
        own, (down, up) = product(x, self.base), self.learned.both()
        up = taken(up, self.rows)
        dropped = x if self.drop is None else self.drop(x)
        added = self.learned.scale * F.linear(F.linear(dropped, down), up)
        if self.learned.magnitude is None:
            return own + added
        gain = taken(self.learned.magnitude, self.rows) / self.lengths(down, up)
        # As in PEFT the change alone sees what was dropped, and lengths are part of it.
        again = own if self.drop is None else product(dropped, self.base)
        return (own + again * (gain - 1) + added * gain).to(own.dtype)

    def first(self, rows: int) -> Matrix:
        raise NotImplementedError("drafts are not trained")

    @torch.no_grad()
    def lengths(self, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """Of each row with what was learned, a constant (DoRA, section 4.3): [n]."""
        return torch.linalg.vector_norm(self.merged(down, up), dim=1)

    @torch.no_grad()
    def merged(self, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """[n, K], without lengths."""
        return floats(self.base).addmm(up, down, alpha=self.learned.scale)


@dataclass(frozen=True, slots=True)
class Drop:
    """A share of numbers becomes zero, the others larger by as much: the same ones of a sequence whenever its seed [B]
    is, whichever others are with it, and of all weights of a module.
    """

    share: float
    seeds: torch.Tensor
    module: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.stack([self._kept(int(seed), x[0]) for seed in self.seeds])
        return x * kept / (1 - self.share)

    def _kept(self, seed: int, like: torch.Tensor) -> torch.Tensor:
        mixed = (seed * 0x9E3779B1 + crc32(self.module.encode())) & (1 << 63) - 1
        rng = torch.Generator(like.device).manual_seed(mixed)
        return torch.rand(like.shape, generator=rng, device=like.device) >= self.share


class Finetuned(Whole):
    """`edge_runtimes.torch.held.Held`: what learns is `own`, and called after the first weight of its module."""

    def __init__(self, recipe: AdapterRecipe, origin: Origin, seed: int, ranks: Ranks) -> None:
        assert origin.start is not None, "an adapter is of a checkpoint"
        self.modules, self._dropped = modules(recipe, origin.tensors), recipe.dropout
        self.frozen = _frozen(origin, recipe.base, ranks)
        super().__init__(_first(recipe, self.modules, self.frozen, seed), ranks)
        self.learned = {module.name: self._learned(recipe, module) for module in self.modules}
        self.weights: Mapping[str, Weight] = {**self.frozen, **dict(self._adapted())}

    def seen(self, seeds: torch.Tensor) -> Mapping[str, Weight]:
        if not self._dropped:
            return self.weights
        drops = {
            name: Drop(self._dropped, seeds, module.name)
            for module in self.modules
            for name in module.parts
        }
        return {
            name: replace(weight, drop=drops[name]) if isinstance(weight, Adapted) else weight
            for name, weight in self.weights.items()
        }

    def adapter(self) -> Adapter:
        """As it is now."""
        return Adapter({name: learned.delta() for name, learned in self.learned.items()})

    def merged(self) -> Mapping[str, torch.Tensor]:
        """Every weight, with what was learned in it: each put together when it is asked for."""
        return Merged(self.weights)

    def _learned(self, recipe: AdapterRecipe, module: Module) -> LowRank:
        parts = {part: self.own.get(f"{module.key}.{part}") for part in _PARTS}
        down, up = parts.pop("down"), parts.pop("up")
        assert down is not None
        assert up is not None
        return LowRank(recipe.scale, down, up, **parts)

    def _adapted(self) -> Iterator[tuple[str, Adapted]]:
        for module in self.modules:
            for name, rows in module.parts.items():
                base = self.frozen[name]
                assert isinstance(base, Frozen | FrozenCodes)
                own = rows if len(module.parts) > 1 else ()
                yield name, Adapted(base, self.learned[module.name], own)


_PARTS = ("down", "up", "magnitude", "pooled", "spread")


class Merged(Mapping[str, torch.Tensor]):
    """Weights in float32."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = weights

    @torch.no_grad()
    def __getitem__(self, name: str) -> torch.Tensor:
        weight = self._weights[name]
        if isinstance(weight, Adapted):
            down, up = weight.learned.both()
            up = taken(up, weight.rows)
            made = weight.merged(down, up)
            if weight.learned.magnitude is None:
                return made
            gain = taken(weight.learned.magnitude, weight.rows) / weight.lengths(down, up)
            return made * gain[:, None]
        if isinstance(weight, Frozen | FrozenCodes):
            return floats(weight)
        assert isinstance(weight, torch.Tensor)
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def taken(values: torch.Tensor, rows: Rows) -> torch.Tensor:
    """These rows, in this order; none: all."""
    if not rows:
        return values
    parts = [values[part.start : part.stop : part.step] for part in rows]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _frozen(origin: Origin, rounds: str | None, ranks: Ranks) -> dict[str, Weight]:
    """Every weight in the type that the checkpoint has it in; those of the layers by a method that `rounds`."""
    assert origin.start is not None
    kinds = {
        name: DTYPES[origin.dtypes[tensor]]
        for tensor, place in origin.tensors.items()
        for name in place.weights
    }
    found: dict[str, Weight] = {}
    device, said = ranks.device, time.monotonic()
    with Checkpoint.open(origin.start) as checkpoint:
        multiplied, known = matrices(origin.spec), shapes(origin.spec)
        for name in known:
            if ranks.first and time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                print(f"weight {len(found)} of {len(known)}", file=sys.stderr, flush=True)
            values = whole(checkpoint, name)
            if name not in multiplied:
                found[name] = torch.from_numpy(values).to(device)
            elif rounds is not None and name.startswith("layers."):
                found[name] = FrozenCodes.of(values, rounds, device)
            else:
                found[name] = Frozen(torch.from_numpy(values).to(device, kinds[name]))
    return found


def _first(
    recipe: AdapterRecipe, found: list[Module], frozen: Mapping[str, Weight], seed: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """What learning begins with: down is random as PEFT's is, up is zero, so that nothing is changed yet."""
    rng = torch.Generator().manual_seed(seed)
    for module in found:
        rows, columns = module.shape
        down = torch.rand(recipe.rank, columns, generator=rng)
        yield f"{module.key}.down", (2 * down - 1) * columns**-0.5
        yield f"{module.key}.up", torch.zeros(rows, recipe.rank)
        if recipe.dora:
            yield f"{module.key}.magnitude", _lengths(module, frozen)
        if recipe.elastic:
            yield f"{module.key}.pooled", torch.zeros(1)
            yield f"{module.key}.spread", torch.zeros(1)


def _lengths(module: Module, frozen: Mapping[str, Weight]) -> torch.Tensor:
    """Of the rows of a module: [N]."""
    out = torch.zeros(module.shape[0])
    for name, rows in module.parts.items():
        weight = frozen[name]
        assert isinstance(weight, Frozen | FrozenCodes)
        own = torch.linalg.vector_norm(floats(weight), dim=1).cpu()
        at = 0
        for part in rows or (range(module.shape[0]),):
            out[part.start : part.stop : part.step] = own[at : at + len(part)]
            at += len(part)
    return out
