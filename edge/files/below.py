"""A file of weights as one network of several sees it: the tensors below a prefix, without it, or some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    entries: Mapping[str, Entry] = field(init=False)

    def __post_init__(self) -> None:
        below = {
            name.removeprefix(self.prefix): entry
            for name, entry in self.file.entries.items()
            if name.startswith(self.prefix)
        }
        self.entries = {
            name: entry for name, entry in below.items() if name.startswith(self.within or ("",))
        }

    @property
    def path(self) -> Path:
        return self.file.path

    @path.setter
    def path(self, value: Path) -> None:
        self.file.path = value

    def rows(self, name: str, start: int, stop: int, step: int = 1) -> F32:
        return self.file.rows(self.prefix + name, start, stop, step)

    def raw(self, name: str, span: range) -> bytearray:
        return self.file.raw(self.prefix + name, span)

    def close(self) -> None:
        self.file.close()
