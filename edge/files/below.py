"""A file of weights as one network of several sees it: the tensors below a prefix, without it, or some of them; some
of which are longer than they lie there, by the rows of another tensor, wherever that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.files.closeable import Closeable
from edge.files.safetensors import Entry
from edge.files.weightfile import WeightFile
from edge.typing import F32


@dataclass(slots=True, eq=False)  # one open file, however alike others are
class Below(Closeable):
    """`edge.files.weightfile.WeightFile`."""

    file: WeightFile
    prefix: str
    within: tuple[str, ...] = ()  # beginnings of these names; none: all
    rest: Mapping[str, tuple[WeightFile, str]] = field(default_factory=dict)  # of what is longer
    entries: Mapping[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        below = {
            name.removeprefix(self.prefix): entry
            for name, entry in self.file.entries.items()
            if name.startswith(self.prefix)
        }
        own = {name: e for name, e in below.items() if name.startswith(self.within or ("",))}
        self.entries = own | {
            name: continued(own[name], file.entries[tensor], tensor)
            for name, (file, tensor) in self.rest.items()
            if name in own
        }

    @property
    def path(self) -> Path:
        return self.file.path

    @path.setter
    def path(self, value: Path) -> None:
        self.file.path = value

    def rows(self, name: str, start: int, stop: int, step: int = 1) -> F32:
        if name not in self.rest:
            return self.file.rows(self.prefix + name, start, stop, step)
        (more, tensor), own = self.rest[name], self.file.entries[self.prefix + name].shape[0]
        wanted = range(start, stop, step)
        some = [row for row in wanted if row < own]
        others = [row - own for row in wanted if row >= own]
        parts = [(self.file, self.prefix + name, some), (more, tensor, others)]
        return np.concatenate(
            [f.rows(t, part[0], part[-1] + 1, step) for f, t, part in parts if part]
        )

    def raw(self, name: str, span: range) -> bytearray:
        return self.file.raw(self.prefix + name, span)

    def close(self) -> None:
        self.file.close()


def continued(entry: Entry, rest: Entry, tensor: str) -> Entry:
    """A tensor whose rows go on in another one; Damaged if that has no such rows."""
    if (entry.dtype, entry.shape[1:]) != (rest.dtype, rest.shape[1:]) or not entry.shape:
        raise Damaged(
            f"tensor {tensor} of {rest.dtype} {list(rest.shape)} has no more rows for one of "
            f"{entry.dtype} {list(entry.shape)}",
            fix="check that config.json and the weights belong together",
        )
    return replace(entry, shape=(entry.shape[0] + rest.shape[0], *entry.shape[1:]))
