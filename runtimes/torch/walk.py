"""`edge.contracts.Walk` on a device: the weights of one layer lie there, and one window at a time goes through them.

The maths is the model's own definition. T tokens, D width, K columns of a matrix.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch

from edge.names import shapes
from edge.nn.decoder import head_name, segment
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.torch.arithmetic import there
from edge_runtimes.torch.decoder import array
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.threads import alone

Hear = Callable[[tuple[str, ...], F32], None]
Advance = Callable[[int], None]


class _Heard(TorchOps):
    """Says what is multiplied, and by which matrices. Weights that lie there are not copied to be one."""

    def __init__(self, weights: Mapping[str, torch.Tensor], hear: Hear | None) -> None:
        super().__init__(weights, dtype=torch.float32)
        self.stacks, self.hear = False, hear

    def linear(
        self, x: torch.Tensor, *names: str, biased: Collection[str] = ()
    ) -> tuple[torch.Tensor, ...]:
        if self.hear is not None:
            self.hear(names, array(x[0]))
        return super().linear(x, *names, biased=biased)


@dataclass(slots=True)
class Weights(Mapping[str, torch.Tensor]):
    """A checkpoint's, on a device once they were asked for, until they are forgotten."""

    checkpoint: Checkpoint
    device: torch.device
    _read: dict[str, torch.Tensor] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __getitem__(self, name: str) -> torch.Tensor:
        with self._lock:
            if name not in self._read:
                self._read[name] = there(whole(self.checkpoint, name), self.device)
            return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(shapes(self.checkpoint.spec))

    def __len__(self) -> int:
        return len(shapes(self.checkpoint.spec))

    def put(self, name: str, weight: F32) -> None:
        """Another instead of the checkpoint's."""
        with self._lock:
            self._read[name] = there(weight, self.device)

    def forget(self) -> None:
        self._read.clear()


@dataclass(slots=True)
class Walk:
    """`streams`: of each window, before layer `layer`, [T, D]: numpy's, for they may lie on the disk."""

    weights: Weights
    streams: Sequence[F32]
    layer: int = 0

    def one(self, window: int, hear: Hear | None) -> F32:
        alone()
        x = there(self.streams[window], self.weights.device)
        with torch.inference_mode():
            return array(
                through(self.weights, self.weights.checkpoint.decoder, self.layer, x, hear)
            )

    def through(self, hear: Hear | None, advance: Advance) -> list[F32]:
        out = []
        for window, stream in enumerate(self.streams):
            out.append(self.one(window, hear))
            advance(len(stream))
        return out

    def last(self, hear: Hear) -> None:
        alone()
        spec = self.weights.checkpoint.decoder
        ops = TorchOps(self.weights, dtype=torch.float32)
        for stream in self.streams:
            with torch.inference_mode():
                x = there(stream, self.weights.device)
                normed = ops.add_norm(x, None, "norm", spec.norm)[1]
            hear((head_name(spec),), array(normed))

    def forget(self) -> None:
        self.weights.forget()

    def replace(self, name: str, weight: F32) -> None:
        self.weights.put(name, weight)

    def arrive(self, streams: Sequence[F32]) -> None:
        self.streams, self.layer = streams, self.layer + 1
        self.forget()


def through(
    weights: Mapping[str, torch.Tensor],
    spec: DecoderSpec,
    layer: int,
    x: torch.Tensor,
    hear: Hear | None,
) -> torch.Tensor:
    """One layer: [T, D] -> [T, D]."""
    ops = _Heard(weights, hear)
    return segment(ops, spec, x[None], start=layer, stop=layer + 1, ends=False, embedded=True)[0]
