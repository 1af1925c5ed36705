"""A text on its way through a decoder, layer by layer: what each matrix multiplies, and what comes out by other
weights than the checkpoint's. In numpy.

W windows of T tokens each, D width, N rows and K columns of a matrix.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from threading import Lock

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


@dataclass(frozen=True, slots=True)
class _Embedded(Sequence[F32]):
    """Windows before the first layer, each made when it is asked for: rows of a table are soon read."""

    ops: NumpyOps
    spec: DecoderSpec
    windows: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, at: int) -> F32:  # type: ignore[override]
        ops: Ops[AnyArray, Tables] = self.ops
        return embed(ops, self.spec, np.asarray(self.windows[at], np.int64))


@dataclass(slots=True)
class Walk:
    """`edge.contracts.Walk`. `streams`: of each window, before layer `layer`, [T, D]."""

    spec: DecoderSpec
    weights: Weights
    streams: Sequence[F32]
    layer: int = 0
    _read: dict[str, F32] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def begin(
        cls, checkpoint: Checkpoint, windows: Sequence[Sequence[int]], recipe: Recipe | None = None
    ) -> "Walk":
        spec, table = checkpoint.decoder, checkpoint_weights(checkpoint, recipe)
        streams = _Embedded(NumpyOps(table, Cache(), 0, False), spec, windows)
        return cls(spec, checkpoint_weights(checkpoint), streams)

    def one(self, window: int, hear: Hear | None) -> F32:
        ops: Ops[AnyArray, Tables] = _Heard(self._weight, Cache(), 0, False, hear=hear)
        stream, at = self.streams[window], self.layer
        found: F32 = segment(
            ops, self.spec, stream, start=at, stop=at + 1, ends=False, embedded=True
        )
        return found

    def through(self, hear: Hear | None, advance: Advance) -> list[F32]:
        out = []
        for window, stream in enumerate(self.streams):
            out.append(self.one(window, hear))
            advance(len(stream))
        return out

    def last(self, hear: Hear) -> None:
        for stream in self.streams:
            ops: Ops[AnyArray, Tables] = NumpyOps(self.weights, Cache(), 0, False)
            hear((head_name(self.spec),), ops.add_norm(stream, None, "norm", self.spec.norm)[1])

    def forget(self) -> None:
        self._read = {}

    def replace(self, name: str, weight: F32) -> None:
        self._read[name] = weight

    def arrive(self, streams: Sequence[F32]) -> None:
        self.streams, self.layer, self._read = streams, self.layer + 1, {}

    def _weight(self, name: str, rows: I64 | None) -> F32:
        """Each weight of a layer is read once."""
        with self._lock:
            if name not in self._read:
                self._read[name] = self.weights(name, rows)
            return self._read[name]


walk = Walk.begin  # at the first layer
