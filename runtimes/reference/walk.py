"""A text on its way through a decoder, layer by layer: what each matrix multiplies, and what comes out by other
weights than the checkpoint's. In numpy.

W windows of T tokens each, D width, N rows and K columns of a matrix.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.nn.decoder import embed, head_name, segment
from edge.ops import Ops
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge.typing import F32, I64, AnyArray
from edge_runtimes.reference.decoder import Weights, checkpoint_weights
from edge_runtimes.reference.ops import Cache, NumpyOps, Tables

Hear = Callable[[tuple[str, ...], F32], None]
Advance = Callable[[int], None]


@dataclass(slots=True)
class _Heard(NumpyOps):
    """Says what is multiplied, and by which matrices."""

    hear: Hear | None = None

    def linear(self, x: F32, *names: str, biased: Collection[str] = ()) -> tuple[F32, ...]:
        if self.hear is not None:
            self.hear(names, x)
        return NumpyOps.linear(self, x, *names, biased=biased)


@dataclass(slots=True)
class Walk:
    """`edge.contracts.Walk`. `streams`: of each window, before layer `layer`, [T, D]."""

    spec: DecoderSpec
    weights: Weights
    streams: list[F32]
    layer: int = 0
    _read: dict[str, F32] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, checkpoint: Checkpoint, windows: Sequence[Sequence[int]], recipe: Recipe | None = None
    ) -> "Walk":
        spec, table = checkpoint.decoder, checkpoint_weights(checkpoint, recipe)
        ops: Ops[AnyArray, Tables] = NumpyOps(table, Cache(), 0, False)
        streams = [embed(ops, spec, np.asarray(window, np.int64)) for window in windows]
        return cls(spec, checkpoint_weights(checkpoint), streams)

    def through(self, hear: Hear | None, advance: Advance) -> list[F32]:
        out = []
        for stream in self.streams:
            ops: Ops[AnyArray, Tables] = _Heard(self._weight, Cache(), 0, False, hear=hear)
            at = self.layer
            out.append(
                segment(ops, self.spec, stream, start=at, stop=at + 1, ends=False, embedded=True)
            )
            advance(len(stream))
        return out

    def last(self, hear: Hear) -> None:
        for stream in self.streams:
            ops: Ops[AnyArray, Tables] = NumpyOps(self.weights, Cache(), 0, False)
            hear((head_name(self.spec),), ops.add_norm(stream, None, "norm", self.spec.norm)[1])

    def replace(self, name: str, weight: F32) -> None:
        self._read[name] = weight

    def arrive(self, streams: list[F32]) -> None:
        self.streams, self.layer, self._read = streams, self.layer + 1, {}

    def _weight(self, name: str, rows: I64 | None) -> F32:
        """Each weight of a layer is read once."""
        if name not in self._read:
            self._read[name] = self.weights(name, rows)
        return self._read[name]


walk = Walk.begin  # at the first layer


def importance(
    checkpoint: Checkpoint, windows: Sequence[Sequence[int]], advance: Advance
) -> dict[str, F32]:
    """The mean square of each input of each matrix of the layers, over all positions of all windows,
    by canonical name: [K].
    """
    sums: dict[str, np.ndarray] = {}

    def hear(names: tuple[str, ...], x: F32) -> None:
        squares = np.einsum("tk,tk->k", x, x, dtype=np.float64)
        for name in names:
            sums[name] = sums.get(name, 0) + squares

    found = Walk.begin(checkpoint, windows)
    heard = 0
    layers = len(found.spec.layers)

    def part(tokens: int) -> None:
        """Of all tokens, a layer of all."""
        nonlocal heard
        before, heard = heard // layers, heard + tokens
        advance(heard // layers - before)

    while found.layer < layers:
        found.arrive(found.through(hear, part))
    count = sum(map(len, windows))
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}
