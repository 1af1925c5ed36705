"""Where every tensor will lie: safetensors files of bounded size, planned from shapes alone."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge.files.safetensors import Tensor, header_of, wide_first

LIMIT = 5 << 30  # bytes of a file: mlx-lm's own
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: what it begins with, where its tensors lie, and its size."""

    file: str
    header: bytes
    offsets: Mapping[str, int]
    nbytes: int


def plan(tensors: Mapping[str, Tensor]) -> tuple[Shard, ...]:
    """Files that hold these tensors, in their order."""
    parts = list(_cut(tensors, LIMIT))
    if len(parts) == 1:
        return (_shard("model.safetensors", parts[0]),)
    return tuple(
        _shard(f"model-{number:05}-of-{len(parts):05}.safetensors", part)
        for number, part in enumerate(parts, 1)
    )


def index(shards: Sequence[Shard], tensors: Mapping[str, Tensor]) -> str:
    """The text of the file that says which tensor lies where."""
    where = {name: shard.file for shard in shards for name in shard.offsets}
    total = sum(tensor.nbytes for tensor in tensors.values())
    found = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    return json.dumps(found, indent=4) + "\n"


def _cut(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """A tensor's codes, scales and biases stay in one file."""
    part: dict[str, Tensor] = {}
    for _, group in itertools.groupby(tensors, lambda name: name.rpartition(".")[0]):
        some = {name: tensors[name] for name in group}
        if part and sum(tensor.nbytes for tensor in (*part.values(), *some.values())) > limit:
            yield part
            part = {}
        part |= some
    yield part


def _shard(file: str, tensors: Mapping[str, Tensor]) -> Shard:
    header, offsets = header_of(wide_first(tensors), "mlx")
    size = len(header) + sum(tensor.nbytes for tensor in tensors.values())
    return Shard(file, header, offsets, size)
