"""One sequence in float64: `edge.protocols.Decoder`."""

import math
from collections.abc import Sequence

import numpy as np

from edge.contracts import PLAINLY, Numerics, Opening, Use
from edge.files.safetensors import SafetensorsFile
from edge.names import shapes
from edge.nn.decoder import decoder
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec, cache_bytes
from edge.typing import F32, AnyArray
from edge_runtimes.doubles.ops import Doubles
from edge_runtimes.doubles.stored import FILE


class DoublesDecoder:
    """Every weight is in memory, at its double width."""

    def __init__(self, opening: Opening) -> None:
        self.spec, self.capacity, self.length = opening.spec, opening.spec.context, 0
        file = SafetensorsFile(opening.folder / FILE)
        self._weights: dict[str, AnyArray] = {
            name: file.rows(name, 0, shape[0]).reshape(shape).astype(np.float64)
            for name, shape in shapes(self.spec).items()
        }
        file.close()
        self._cache: dict[int, tuple[AnyArray, AnyArray]] = {}

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self._run(tokens, last_only=True)[-1]

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return self._run(tokens, last_only=False)

    def rewind(self, length: int) -> None:
        self._cache = {at: (k[:length], v[:length]) for at, (k, v) in self._cache.items()}
        self.length = length

    def _run(self, tokens: Sequence[int], *, last_only: bool) -> F32:
        ops = Doubles(self._weights, self._cache, self.length, last_only)
        logits: AnyArray = decoder(ops, self.spec, np.asarray(tokens))
        self.length += len(tokens)
        return logits.astype(np.float32)


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    """The oracle's own float32 is all that sets the two apart."""
    return Numerics(tolerance=1e-5)


def memory(spec: DecoderSpec, recipe: Recipe, *, tokens: int, use: Use = PLAINLY) -> int:
    """Peak resident bytes: interpreter and numpy, and every weight and cached number at eight bytes."""
    weights = 8 * sum(map(math.prod, shapes(spec).values()))
    return 100_000_000 + weights + cache_bytes(spec, tokens, number=8)
