"""A model's file, or its shards, before any weight is read: headers, and where each tensor will lie."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge.gguf.architectures import Architecture, TensorRows, places, stacks
from edge.gguf.headers import Region, header, offsets
from edge.gguf.keys import Keys, rope_tensors
from edge.gguf.kinds import BY_NAME, Kind
from edge.gguf.shards import file_names, keys_of
from edge.spec import DecoderSpec


@dataclass(frozen=True, slots=True)
class File:
    """One file: its header is all of it but the tensors' content."""

    name: str
    header: bytes
    nbytes: int


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All files of a model, and where in them each weight lies."""

    files: tuple[File, ...]
    regions: Mapping[str, Region]
    places: Mapping[str, tuple[TensorRows, ...]]

    @classmethod
    def of(
        cls, spec: DecoderSpec, arch: Architecture, kinds: Mapping[str, Kind], keys: Keys
    ) -> "ModelFiles":
        """`kinds`: of each matrix; an `output.weight` among them is stored also if it is tied. A model
        with exits is cut at each: the first files are the model up to there.
        """
        head = "output.weight" in kinds
        shapes = {name: part.shape for name, part in stacks(spec, arch, head=head).items()}
        shapes |= {name: values.shape for name, values in rope_tensors(spec.rope).items()}
        tensors = {
            name: Region(kinds.get(name, BY_NAME["F32"]), shapes[name], 0) for name in shapes
        }
        count = len(spec.exits) + 1
        files, regions = [], dict[str, Region]()
        for number, file in enumerate(file_names(count)):
            own = {n: t for n, t in tensors.items() if _file(n, spec.exits) == number}
            said = {} if count == 1 else keys_of(number, count, len(tensors))
            starts, end = offsets(own)
            begin = header({**(keys if number == 0 else {}), **said}, own, starts)
            files.append(File(file, begin, len(begin) + end))
            for name, tensor in own.items():
                at = len(begin) + starts[name]
                regions[name] = replace(tensor, offset=at, file=number)
        return cls(tuple(files), regions, places(spec, arch, head=head))


def _file(tensor: str, exits: Sequence[int]) -> int:
    """Which file a tensor lies in: what is of no layer lies in the first."""
    match = re.match(r"blk\.(\d+)\.", tensor)
    return 0 if match is None else bisect_right(exits, int(match[1]))
