"""A file of weights, whichever format it has."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edge.files.safetensors import Entry, SafetensorsFile
from edge.files.torchfile import TorchFile
from edge.typing import F32

_BLOCK = 1 << 22  # bytes of a tensor that are compared at a time


class WeightFile(Protocol):
    """An open file; `entries` are its tensors."""

    path: Path

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    def rows(self, name: str, start: int, stop: int, step: int = 1) -> F32: ...

    def raw(self, name: str, span: range) -> bytearray: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


OPENERS: Mapping[str, Callable[[Path], WeightFile]] = {
    ".safetensors": SafetensorsFile,
    ".bin": TorchFile,
    ".pt": TorchFile,
    ".pth": TorchFile,
}


def open_weights(path: Path) -> WeightFile:
    """By the end of its name."""
    return OPENERS[path.suffix](path)


def same(paths: Iterable[Path], first: str, second: str) -> bool:
    """Whether two tensors of these files are one, bit for bit; a few megabytes of them are read at a
    time.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_weights(path)) for path in paths]
        holders = {name: file for file in files for name in file.entries}
        entry = holders[first].entries[first]
        if not entry.alike(holders[second].entries[second]):
            return False
        parts = (range(entry.nbytes)[at : at + _BLOCK] for at in range(0, entry.nbytes, _BLOCK))
        return all(holders[first].raw(first, p) == holders[second].raw(second, p) for p in parts)
