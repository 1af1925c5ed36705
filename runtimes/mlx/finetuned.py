"""Weights that stay as they are, rounded or not, and an adapter beside them that learns (`edge.train.adapter`).

A module of the checkpoint may be several weights here: each takes its rows of one `up`, and `down` is of all. Every
array that learns is an argument of what gradients are taken of. N rows of a module, K columns, r the rank, B sequences,
T positions, V vocabulary.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

import mlx.core as mx
import numpy as np

from edge.adapters.value import Adapter, Delta
from edge.names import Rows
from edge.nn.decoder import block, embed, head
from edge.spec import DecoderSpec
from edge.train.adapter import AdapterRecipe, Module
from edge.typing import F32
from edge_runtimes.mlx.cache import Alone
from edge_runtimes.mlx.ops import MlxOps
from edge_runtimes.mlx.shared import SharedMlxOps
from edge_runtimes.mlx.weights import Weights

Learned = dict[str, mx.array]  # by the first weight of a module, and the part
Measure = Callable[[mx.array], mx.array]  # logits [B, T, V] -> a number
_PARTS = ("down", "up", "magnitude")


@dataclass(frozen=True, slots=True)
class Frozen:
    """What an adapter is beside: weights, and of each that DoRA changes the squared length of each row [N]."""

    spec: DecoderSpec
    weights: Weights
    squares: Mapping[str, mx.array]

    @classmethod
    def of(
        cls, spec: DecoderSpec, weights: Weights, found: Sequence[Module], rows: "RowsOf"
    ) -> "Frozen":
        names = [name for module in found for name in module.parts]
        squares = {name: mx.array(np.square(rows(name)).sum(axis=1)) for name in names}
        return cls(spec, weights, squares)

    def of_length(self, spec: DecoderSpec) -> "Frozen":
        """With another spec's rotary tables."""
        return replace(self, spec=spec)


RowsOf = Callable[[str], F32]  # a weight [N, K], as it is stored


@dataclass(frozen=True, slots=True)
class LowRank:
    """A weight's part of what a module learns: down [r, K], up [n, r], lengths of rows [n] or none."""

    module: str
    scale: float
    down: mx.array
    up: mx.array
    magnitude: mx.array | None

    def lengths(self, squares: mx.array, crossed: mx.array) -> mx.array:
        """Of the weight's rows with the change [n], a constant (DoRA, section 4.3): |w + d|² is |w|² + 2 wd + |d|².
        `crossed`: down times the weight, transposed, [r, n].
        """
        wide = self.up.astype(mx.float32) * self.scale
        inner = (self.down @ self.down.T).astype(mx.float32)  # [r, r]
        both = 2 * (wide * crossed.T.astype(mx.float32)).sum(1) + (wide * (wide @ inner)).sum(1)
        return mx.stop_gradient(mx.sqrt(mx.maximum(squares + both, 0)))


@dataclass(frozen=True, slots=True)
class Drop:
    """A share of numbers becomes zero, the others larger by as much; the same ones whenever the seed of a sequence is,
    and of all weights of a module.
    """

    share: float
    seeds: Sequence[int]

    def __call__(self, x: mx.array, module: str) -> mx.array:
        if not self.share:
            return x
        keys = (mx.random.key(seed ^ crc32(module.encode())) for seed in self.seeds)
        kept = mx.stack([mx.random.uniform(shape=x.shape[1:], key=key) for key in keys])
        return mx.where(kept >= self.share, x / (1 - self.share), 0).astype(x.dtype)


@dataclass(slots=True)
class LearningOps(MlxOps):
    """Whole sequences [B, T]; products of weights that an adapter is of have it beside them."""

    frozen: Frozen = field(kw_only=True)
    beside: Mapping[str, LowRank] = field(kw_only=True)
    drop: Drop = field(kw_only=True)

    def linear(
        self, x: mx.array, *names: str, biased: Collection[str] = ()
    ) -> tuple[mx.array, ...]:
        own = SharedMlxOps.linear(self, x, *names)
        made = []
        for i, (name, out) in enumerate(zip(names, own, strict=True)):
            learned = self.beside.get(name)
            both = out if learned is None else self._both(x, out, names, i, learned)
            made.append(both + self.weights.value(f"{name}.bias") if name in biased else both)
        return tuple(made)

    def _both(
        self, x: mx.array, own: mx.array, names: tuple[str, ...], at: int, learned: LowRank
    ) -> mx.array:
        dropped = self.drop(x, learned.module)
        down, up = (part.astype(x.dtype) for part in (learned.down, learned.up))
        added = learned.scale * ((dropped @ down.T) @ up.T)
        if learned.magnitude is None:
            return own + added
        crossed = SharedMlxOps.linear(self, down, *names)[at]  # [r, n]
        lengths = learned.lengths(self.frozen.squares[names[at]], crossed)
        gain = (learned.magnitude / lengths).astype(x.dtype)
        # As in PEFT the change alone sees what was dropped, and lengths are part of it.
        again = SharedMlxOps.linear(self, dropped, *names)[at] if self.drop.share else own
        return own + again * (gain - 1) + added * gain


def beside(recipe: AdapterRecipe, found: Sequence[Module], learned: Learned) -> dict[str, LowRank]:
    """By weight, its part of what its module learns; of modules that are among what is `learned`."""
    out = {}
    for module in found:
        if f"{module.key}.down" not in learned:
            continue
        down, up = learned[f"{module.key}.down"], learned[f"{module.key}.up"]
        magnitude = learned.get(f"{module.key}.magnitude")
        for name, rows in module.parts.items():
            own = rows if len(module.parts) > 1 else ()
            lengths = None if magnitude is None else _taken(magnitude, own)
            out[name] = LowRank(module.name, recipe.scale, down, _taken(up, own), lengths)
    return out


def loss(
    frozen: Frozen,
    recipe: AdapterRecipe,
    found: Sequence[Module],
    learned: Learned,
    tokens: mx.array,
    *,
    seeds: Sequence[int],
    measure: Measure,
    recompute: bool = False,
) -> mx.array:
    """tokens [B, T] -> what is measured of their logits. `recompute`: what a layer leaves for the backward pass is
    computed again there.
    """
    spec, drop = frozen.spec, Drop(recipe.dropout, seeds)
    rows = Alone(tokens.shape[1])

    def ops(own: Learned) -> LearningOps:
        made = beside(recipe, found, own)
        return LearningOps(frozen.weights, rows, False, frozen=frozen, beside=made, drop=drop)

    outer = ops({n: values for n, values in learned.items() if not n.startswith("layers.")})
    rope = outer.rope(spec.rope, spec.context)
    x, d = embed(outer, spec, tokens), None
    for index in range(len(spec.layers)):

        def layer(own: Learned, *pair: mx.array, index: int = index) -> list[mx.array]:
            before = pair[1] if len(pair) > 1 else None
            return list(block(ops(own), spec, index, pair[0], before, rope))

        own = {n: values for n, values in learned.items() if n.startswith(f"layers.{index}.")}
        through = mx.checkpoint(layer) if recompute else layer
        x, d = through(own, x) if d is None else through(own, x, d)
    return measure(head(outer, spec, x, d))


def first(
    recipe: AdapterRecipe, found: Sequence[Module], rows: RowsOf, seed: int
) -> Iterator[tuple[str, F32]]:
    """What learning begins with: down is random as PEFT's is, up is zero, so that nothing is changed yet."""
    rng = np.random.default_rng(seed)
    for module in found:
        height, columns = module.shape
        bound = columns**-0.5
        down = rng.uniform(-bound, bound, (recipe.rank, columns)).astype(np.float32)
        yield f"{module.key}.down", down
        yield f"{module.key}.up", np.zeros((height, recipe.rank), np.float32)
        if recipe.dora:
            lengths = np.zeros(height, np.float32)
            for name, parts in module.parts.items():
                own = np.linalg.norm(rows(name), axis=1)
                at = parts if len(module.parts) > 1 else (range(height),)
                lengths[np.concatenate([list(part) for part in at])] = own
            yield f"{module.key}.magnitude", lengths


def adapter(recipe: AdapterRecipe, found: Sequence[Module], learned: Learned) -> Adapter:
    """As it is now, in numpy."""
    deltas = {}
    for module in found:
        parts = [learned.get(f"{module.key}.{part}") for part in _PARTS]
        down, up, magnitude = (None if p is None else np.array(p.astype(mx.float32)) for p in parts)
        assert down is not None
        assert up is not None
        deltas[module.name] = Delta(down, up, recipe.scale, magnitude)
    return Adapter(deltas)


def _taken(values: mx.array, rows: Rows) -> mx.array:
    """These rows, in this order; none: all."""
    if not rows:
        return values
    return mx.concatenate([values[part.start : part.stop : part.step] for part in rows])
