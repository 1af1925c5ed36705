"""The reference runtime: a checkpoint, or what a recipe makes of it, decoded in numpy."""

from collections.abc import Callable, Sequence

import numpy as np

from edge.checkpoint import Checkpoint
from edge.names import shapes
from edge.nn.decoder import decoder
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP16, FP32, QTensor
from edge.spec import DecoderSpec
from edge.typing import F32, I64
from runtimes.reference.ops import Cache, NumpyOps

Weights = Callable[[str, I64 | None], F32]


class ReferenceDecoder:
    """`edge.protocols.Decoder` over any source of float32 weights."""

    def __init__(self, spec: DecoderSpec, weights: Weights) -> None:
        self.spec = spec
        self.capacity = spec.context
        self._weights = weights
        self._cache = Cache()
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        row: F32 = self._run(tokens, last_only=True)[-1]
        return row

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return self._run(tokens, last_only=False)

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self._length, f"rewind to {length} of {self._length}"
        self._cache.rewind(length)
        self._length = length

    def _run(self, tokens: Sequence[int], *, last_only: bool) -> F32:
        assert 0 < len(tokens) <= self.capacity - self._length, (
            f"{len(tokens)} after {self._length} of {self.capacity}"
        )
        ops = NumpyOps(self._weights, self._cache, self._length, last_only)
        logits = decoder(ops, self.spec, np.asarray(tokens, dtype=np.int64))
        self._length += len(tokens)
        return logits


def checkpoint_weights(checkpoint: Checkpoint, recipe: Recipe | None = None) -> Weights:
    """The checkpoint's weights, through a recipe's rounding if one is given. Every call reads the file anew."""
    known = shapes(checkpoint.spec)

    def weight(name: str, rows: I64 | None) -> F32:
        scheme = FP32
        if recipe is not None and len(known[name]) == 2:
            # A tied table is asked for by row as the embedding and whole as the head.
            whole = recipe.head if name in ("head", "embed") else recipe.body
            scheme = whole if rows is None else recipe.embed
        blocks = checkpoint.blocks(name) if rows is None else (checkpoint[name][rows],)
        if scheme == FP32:
            return np.concatenate(list(blocks))
        if scheme == FP16:
            return np.concatenate([block.astype(np.float16).astype(np.float32) for block in blocks])
        assert recipe is not None
        stored = (recipe.stored(name, block, scheme) for block in blocks)
        return np.concatenate([q.dequantize() for q in stored if isinstance(q, QTensor)])

    return weight
