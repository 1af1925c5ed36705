"""The reference runtime: a checkpoint, or what a recipe makes of it, decoded in numpy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import cast

import numpy as np

from edge.adapters.branches import Branches
from edge.contracts import PLAIN, Numerics, Rows, StoredWeights
from edge.net import NetSpec
from edge.nn.decoder import decoder, embed
from edge.nn.tracing import matrices, multiplied, tables
from edge.ops import Ops
from edge.quant.recipe import Recipe
from edge.quant.tensor import FLOATS, Float, QTensor, Scheme, rounded
from edge.source import finite
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge.typing import F32, I64, AnyArray, Fed
from edge_runtimes.reference.net import ReferenceNet
from edge_runtimes.reference.ops import Cache, NumpyOps, Tables
from edge_runtimes.reference.products import How, Products

Weights = Callable[[str, I64 | None], F32]
Blocks = Callable[[str], Iterable[F32 | QTensor]]
Product = Callable[[F32, str], F32]


class ReferenceDecoder:
    """`edge.protocols.Decoder` over any source of float32 weights."""

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        *,
        product: Product | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.spec = spec
        self._product = product
        self.capacity = spec.context
        self._weights = weights
        self._cache = cache or Cache()
        self._length = 0  # tokens
        self._rows = (0,) * len(spec.layers)  # of each layer's cache

    @property
    def length(self) -> int:
        return self._length

    @property
    def rows(self) -> tuple[int, ...]:
        return self._rows

    def prefill(self, tokens: Sequence[int]) -> F32:
        row: F32 = self._run(tokens, last_only=True)[-1]
        return row

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return self._run(tokens, last_only=False)

    def embed(self, tokens: Sequence[int]) -> F32:
        found: F32 = embed(self._ops(last_only=False), self.spec, np.asarray(tokens, np.int64))
        return found

    def prefill_rows(self, rows: F32) -> F32:
        row: F32 = self._run(rows, last_only=True)[-1]
        return row

    def observe(self, tokens: Fed) -> tuple[F32, list[F32]]:
        votes: dict[int, F32] = {}
        logits = self._run(tokens, last_only=True, votes=votes)[-1]
        return logits, [votes[index] for index in range(len(self.spec.layers))]

    observe_rows = observe

    def keep(self, rows: Sequence[I64]) -> None:
        self._cache.keep(rows)
        self._rows = tuple(kept.shape[1] for kept in rows)

    def fork(self, rows: Sequence[I64]) -> "ReferenceDecoder":
        other = copy(self)
        other._cache = self._cache.copy()
        other.keep(rows)
        return other

    def rewind(self, length: int) -> None:
        gone = self._length - length
        assert length == 0 or 0 <= gone <= min(self._rows), f"rewind to {length} of {self._length}"
        self._rows = tuple(0 if length == 0 else rows - gone for rows in self._rows)
        self._cache.rewind(self._rows)
        self._length = length

    def _run(self, fed: Fed, *, last_only: bool, votes: dict[int, F32] | None = None) -> F32:
        """Append tokens [T], or rows [T, D]."""
        assert 0 < len(fed) <= self.capacity - self._length, (
            f"{len(fed)} after {self._length} of {self.capacity}"
        )
        rows = isinstance(fed, np.ndarray) and fed.ndim == 2
        x: AnyArray = np.asarray(fed, np.float32 if rows else np.int64)
        ops = self._ops(last_only=last_only, votes=votes)
        logits = cast(F32, decoder(ops, self.spec, x, embedded=rows))
        self._more(len(fed))
        return logits

    def _ops(
        self, *, last_only: bool, votes: dict[int, F32] | None = None
    ) -> Ops[AnyArray, Tables]:
        return NumpyOps(self._weights, self._cache, self._length, last_only, self._product, votes)

    def _more(self, count: int) -> None:
        """So many tokens are in every layer's cache now."""
        self._length += count
        self._rows = tuple(rows + count for rows in self._rows)


def oracle(
    checkpoint: Checkpoint,
    recipe: Recipe,
    *,
    numerics: Numerics = PLAIN,
    spec: DecoderSpec | None = None,
    stored: StoredWeights | None = None,
    meant: Rows | None = None,
    branches: Branches | None = None,
) -> ReferenceDecoder:
    """The checkpoint through a recipe's rounding, or weights as they are stored or as matrices of layers
    are `meant`, computed as `numerics` says; an adapter's `branches` beside it.
    """
    if stored is not None:
        weights: Weights = stored
        blocks: Blocks = stored.blocks
    else:
        weights = checkpoint_weights(checkpoint, recipe, vectors=numerics.vectors)
        blocks = partial(_blocks, checkpoint, recipe)
    if meant is not None:
        weights, blocks = _meant(meant, checkpoint, recipe, weights, blocks)
    products: Product = Products(weights, blocks, partial(_inputs, recipe, numerics))
    if branches is not None:
        products = partial(_beside, products, branches)
    cache = Cache(numerics.cache)
    return ReferenceDecoder(spec or checkpoint.decoder, weights, product=products, cache=cache)


def _beside(product: Product, branches: Branches, x: F32, name: str) -> F32:
    """A product, and what an adapter adds to it."""
    out = product(x, name)
    return branches.of[name].beside(x, out) if name in branches.of else out


def _meant(
    rows: Rows, checkpoint: Checkpoint, recipe: Recipe, weights: Weights, blocks: Blocks
) -> tuple[Weights, Blocks]:
    """Weights of which those that a text made are as they lie."""
    known = set(filter(recipe.calibrated, multiplied(checkpoint.spec)))

    def weight(name: str, asked: I64 | None) -> F32:
        if name not in known:
            return weights(name, asked)
        if asked is not None:  # a table that is the head, too
            if recipe.scheme(name, by_row=True) != recipe.scheme(name):
                return weights(name, asked)
            return np.concatenate([rows.rows(name, i, i + 1, by_row=True) for i in asked.tolist()])
        return rows.rows(name, 0, checkpoint.shape(name)[0], by_row=False)

    def parts(name: str) -> Iterable[F32 | QTensor]:
        return [weight(name, None)] if name in known else blocks(name)

    return weight, parts


def net_oracle(
    checkpoint: Checkpoint, recipe: Recipe, *, numerics: Numerics = PLAIN
) -> ReferenceNet:
    """The same of a network that is no decoder."""
    assert isinstance(checkpoint.spec, NetSpec), "a decoder's oracle is `oracle`"
    weights = checkpoint_weights(checkpoint, recipe, vectors=numerics.vectors)
    how = partial(_inputs, recipe, numerics)
    products = Products(weights, partial(_blocks, checkpoint, recipe), how)
    return ReferenceNet(checkpoint.spec, lambda name: weights(name, None), products)


def _inputs(recipe: Recipe, numerics: Numerics, name: str) -> How | None:
    """What the inputs of a product are rounded to: as its scheme says, or as a kernel does."""
    scheme = recipe.scheme(name)
    if scheme.inputs:
        return How("int8", 0, bits=scheme.inputs)
    kind = numerics.inputs(scheme)
    return None if kind is None else How(kind, scheme.group or 0, scheme.rotated)


def checkpoint_weights(
    checkpoint: Checkpoint, recipe: Recipe | None = None, *, vectors: Float = "fp32"
) -> Weights:
    """The checkpoint's weights, through a recipe's rounding if one is given. Nothing is kept in
    memory.
    """
    spec = checkpoint.spec
    known = matrices(spec)
    looked_up = tables(spec) if isinstance(spec, NetSpec) else frozenset()  # whole, there

    def weight(name: str, rows: I64 | None) -> F32:
        scheme = FLOATS[vectors]
        if recipe is not None and name in known:
            scheme = recipe.scheme(name, by_row=rows is not None or name in looked_up)
        if recipe is not None and scheme.zero == "table" and scheme.group is not None:
            return _tabled(checkpoint, recipe, name, scheme, rows)
        if rows is not None:
            return _rounded(recipe, name, checkpoint.take(name, rows), scheme)
        every = (block for _, block in finite.blocks(checkpoint, name))
        made = (_rounded(recipe, name, block, scheme) for block in every)
        return finite.joined(made, checkpoint.shape(name))

    return weight


def _tabled(
    checkpoint: Checkpoint, recipe: Recipe, name: str, scheme: Scheme, rows: I64 | None
) -> F32:
    """Rows that share a table are quantized together, whichever of them are asked for."""
    if rows is None:
        return _rounded(recipe, name, finite.whole(checkpoint, name), scheme)
    assert scheme.group is not None
    last = checkpoint.shape(name)[0]
    out = np.empty((len(rows), checkpoint.shape(name)[1]), np.float32)
    for group in np.unique(rows // scheme.group):
        start = int(group) * scheme.group
        whole = checkpoint.take(name, np.arange(start, min(start + scheme.group, last)))
        here = rows // scheme.group == group
        out[here] = _rounded(recipe, name, whole, scheme)[rows[here] - start]
    return out


def _blocks(checkpoint: Checkpoint, recipe: Recipe, name: str) -> Iterator[F32 | QTensor]:
    """A matrix as a recipe stores it, block by block."""
    scheme = recipe.scheme(name)
    for row, block in finite.blocks(checkpoint, name):
        if scheme.is_float:
            yield rounded(block, scheme.number)
        else:
            yield recipe.stored(name, block, scheme, row=row)


def _rounded(recipe: Recipe | None, name: str, block: F32, scheme: Scheme) -> F32:
    if recipe is None or scheme.is_float:
        return rounded(block, scheme.number)
    stored = recipe.stored(name, block, scheme)
    assert isinstance(stored, QTensor)
    return stored.dequantize()
