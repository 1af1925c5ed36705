"""A GGUF model in several files, as llama.cpp names and reads them: the first has every key, each says
which one it is and how many there are, and no tensor lies in two.
"""

import re
from pathlib import Path

from edge.errors import Damaged
from edge.gguf.keys import Keys, Typed
from edge.gguf.kinds import INT32, UINT16
from edge.gguf.reader import GGUFFile, Tensor
from edge.typing import U8

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
_TYPES = {NUMBER: UINT16, COUNT: UINT16, TENSORS: INT32}  # llama.cpp dies of any other
_FIRST = re.compile(r"(.*)-00001-of-(\d{5})\.gguf")
_MOST = 1024  # files


def file_names(count: int) -> tuple[str, ...]:
    """What the files of a model are called."""
    return ("model.gguf",) if count == 1 else _numbered("model", count)


def keys_of(number: int, count: int, tensors: int) -> Keys:
    """What each of several files says; `tensors`: of all of them."""
    values = {NUMBER: number, COUNT: count, TENSORS: tensors}
    return {key: Typed(_TYPES[key], value) for key, value in values.items()}


def files_of(first: Path) -> list[Path]:
    """The files of a model, by the name of the first, or of its only one."""
    match = _FIRST.fullmatch(first.name)
    if match is None:
        return [first]
    count = int(match[2])
    if not 1 <= count <= _MOST:
        raise Damaged(f"{first} is named as one of {count:,} files", fix="get the files again")
    return [first.with_name(name) for name in _numbered(match[1], count)]


class GGUFModel(GGUFFile):
    """All files of a model as one: keys of the first, tensors of each. `paths`: where they are;
    `counts`: how many tensors each holds.
    """

    def __init__(self, first: Path) -> None:
        self._others: list[GGUFFile] = []
        self._owners: dict[str, GGUFFile] = {}
        super().__init__(first)
        self.paths = [first]
        self.counts = [len(self.tensors)]
        try:
            for path in files_of(first)[1:]:
                self._add(path)
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def files(self) -> int:
        return len(self.paths)

    def raw(self, name: str, start: int, stop: int) -> U8:
        if name in self._owners:
            return self._owners[name].raw(name, start, stop)
        return super().raw(name, start, stop)

    def close(self) -> None:
        super().close()
        for other in self._others:
            other.close()

    def _add(self, path: Path) -> None:
        if not path.is_file():
            raise Damaged(
                f"{self.path} needs {path.name} beside it: a model in {len(files_of(self.path))} files",
                fix="get all of them",
            )
        other = GGUFFile(path)
        self._others.append(other)
        twice = sorted(other.tensors.keys() & self.tensors.keys())
        if twice:
            raise Damaged(
                f"{path}: {twice[0]!r:.80} lies in another file of its model, too",
                fix="get the files again",
            )
        self._owners |= dict.fromkeys(other.tensors, other)
        joined: dict[str, Tensor] = {**self.tensors, **other.tensors}
        self.tensors = joined
        self.paths.append(path)
        self.counts.append(len(other.tensors))

    def _check(self) -> None:
        """Each file of several says what it is, in the types that llama.cpp wants."""
        if not self._others:
            return
        for number, file in enumerate((self, *self._others)):
            want = {NUMBER: number, COUNT: self.files, TENSORS: len(self.tensors)}
            for key, value in want.items():
                found = file.get(key)
                if found != value or file.kind(key) != _TYPES[key] or file.count(key) is not None:
                    raise Damaged(
                        f"{file.path}: {key} is {found!r:.40}, not {value}: these files are not those of one model",
                        fix="get all of them again",
                    )


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}-{i + 1:05d}-of-{count:05d}.gguf" for i in range(count))
