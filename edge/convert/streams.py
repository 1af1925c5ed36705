"""What windows of a text are before a layer, on the disk: one file of arrays, read a window at a time.

It lies in the folder that becomes an artifact, and is gone before that is published. T tokens, D width.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.typing import F32, AnyArray

FILE = "streams.npz"
LAYER = "layer"
_KEY = "key"
_ARRAY = "arr_{}"  # a window's
_VECTOR = "vector "  # before the names of vectors that are kept with them
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Streams(Sequence[F32]):
    """Of each window its stream, [T, D]. `facts`: before which layer, and vectors by name."""

    file: Path
    windows: int
    facts: Mapping[str, AnyArray]

    @classmethod
    def written(
        cls,
        folder: Path,
        key: str,
        layer: int,
        every: Iterable[F32],
        vectors: Mapping[str, F32],
    ) -> "Streams":
        """Taken one after the other; what was there stays until all of them are."""
        facts = {LAYER: np.array(layer), **vectors}
        told = {_KEY: np.array(key), LAYER: facts[LAYER]}
        told |= {f"{_VECTOR}{name}": values for name, values in vectors.items()}
        file, count = folder / FILE, 0
        partial = file.with_name(f".{FILE}")
        with zipfile.ZipFile(partial, "w", allowZip64=True) as whole:
            for count, stream in enumerate(every, 1):
                _put(whole, _ARRAY.format(count - 1), stream)
            for name, values in told.items():
                _put(whole, name, values)
        partial.replace(file)
        return cls(file, count, facts)

    def after(self, every: Iterable[F32]) -> "Streams":
        """The same, when all of these were told to others."""
        for _ in every:
            pass
        return self

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, at: int) -> F32:  # type: ignore[override]
        if not 0 <= at < self.windows:
            raise IndexError(at)
        with np.load(self.file) as found:
            stream: F32 = found[_ARRAY.format(at)]
        return stream


def kept(folder: Path, key: str, windows: Sequence[Sequence[int]] | None = None) -> Streams | None:
    """What a conversion of this key left, of these windows; nothing of another's, nor of a file that is broken."""
    try:
        with zipfile.ZipFile(folder / FILE) as whole, np.load(folder / FILE) as found:
            if whole.testzip() is not None or str(found[_KEY]) != key:
                return None
            lengths = list(_lengths(whole))
            if windows is not None and lengths != list(map(len, windows)):
                return None
            vectors = (name for name in found if name.startswith(_VECTOR))
            facts = {name.removeprefix(_VECTOR): found[name] for name in vectors}
            return Streams(folder / FILE, len(lengths), {LAYER: found[LAYER], **facts})
    except _BROKEN:
        return None


def drop(folder: Path) -> None:
    for name in (FILE, f".{FILE}"):
        (folder / name).unlink(missing_ok=True)


def _put(whole: zipfile.ZipFile, name: str, values: AnyArray) -> None:
    with whole.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asarray(values))


def _lengths(whole: zipfile.ZipFile) -> Iterator[int]:
    """Tokens of each window, from the arrays' heads."""
    known = set(whole.namelist())
    at = 0
    while (name := f"{_ARRAY.format(at)}.npy") in known:
        with whole.open(name) as member:
            version = np.lib.format.read_magic(member)
            assert version == (1, 0)
            yield np.lib.format.read_array_header_1_0(member)[0][0]
        at += 1
