"""Where every tensor will lie: safetensors files of bounded size, planned from shapes alone.

Tensors follow each other without a gap, as the format wants; those of wide types come first, so that
each is aligned to its own.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edge.names import Shape
from edge_converters.mlx.pack import SIZES

LIMIT = 5 << 30  # bytes of a file: mlx-lm's own
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be stored."""

    name: str
    dtype: str
    shape: Shape

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: what it begins with, where its tensors lie, and its size."""

    file: str
    header: bytes
    offsets: Mapping[str, int]
    nbytes: int


def plan(tensors: Sequence[Tensor]) -> tuple[Shard, ...]:
    """Files that hold these tensors, in their order."""
    parts = list(_cut(tensors, LIMIT))
    if len(parts) == 1:
        return (_shard("model.safetensors", parts[0]),)
    return tuple(
        _shard(f"model-{number:05}-of-{len(parts):05}.safetensors", part)
        for number, part in enumerate(parts, 1)
    )


def index(shards: Sequence[Shard], tensors: Iterable[Tensor]) -> str:
    """The text of the file that says which tensor lies where."""
    where = {name: shard.file for shard in shards for name in shard.offsets}
    total = sum(tensor.nbytes for tensor in tensors)
    found = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    return json.dumps(found, indent=4) + "\n"


def _cut(tensors: Sequence[Tensor], limit: int) -> Iterator[list[Tensor]]:
    """A tensor's codes, scales and biases stay in one file."""
    part: list[Tensor] = []
    for _, group in itertools.groupby(tensors, lambda tensor: tensor.name.rpartition(".")[0]):
        some = list(group)
        if part and sum(tensor.nbytes for tensor in (*part, *some)) > limit:
            yield part
            part = []
        part += some
    yield part


def _shard(file: str, tensors: Sequence[Tensor]) -> Shard:
    header: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    starts, at = {}, 0
    for tensor in sorted(tensors, key=lambda tensor: -SIZES[tensor.dtype]):
        starts[tensor.name] = at
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    first = 8 + len(text)
    return Shard(
        file,
        len(text).to_bytes(8, "little") + text,
        {name: first + start for name, start in starts.items()},
        first + at,
    )
