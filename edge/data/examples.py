"""What a network that is no decoder learns from: its inputs, and what should come out of it, an example a row.

Pictures with labels are lines of JSON; rows of any network are arrays in a folder: `image.npy`, `target.npy`.

B examples.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from edge.data.jsonl import objects
from edge.errors import Damaged, EdgeError
from edge.net import NetConfig
from edge.typing import AnyArray
from edge.vision.pictures import open_picture
from edge.vision.preparation import Preparation, prepare

TARGET = "target"
_SHOWN = 5  # labels in one error


class Examples(Protocol):
    """`count` of them; `digest`: of all that says which they are."""

    count: int
    digest: str

    def take(self, rows: Sequence[int]) -> tuple[dict[str, AnyArray], AnyArray]:
        """Inputs by port, and targets: each [B, ...]."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """A picture and its labels: names, or numbers of a head's rows."""

    picture: Path
    labels: tuple[str | int, ...]
    where: str


def order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The examples of an epoch, each once."""
    rows = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(rows)
    return tuple(rows)


class Shuffled:
    """Examples one after another without end: epochs, each in an order of its own."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._order = lru_cache(maxsize=2)(lambda epoch: order(count, seed, epoch))

    def rows(self, numbers: Iterable[int]) -> list[int]:
        return [self._order(number // self._count)[number % self._count] for number in numbers]


class Pictures:
    """Lines of JSON, `{"image": "cats/1.jpg", "label": "cat"}` or `"labels": ["cat", "sofa"]`, whose pictures lie below
    the file's folder. `several`: a target says of each label whether it is there, else which one it is.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        labels: Sequence[str],
        preparation: Preparation,
        *,
        several: bool,
    ) -> None:
        self._lines, self._preparation, self._several = lines, preparation, several
        self._rows = [_rows(line, labels, several=several) for line in lines]
        self._labels, self.count = len(labels), len(lines)
        told = [[line.where, *map(str, line.labels)] for line in lines]
        self.digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def take(self, rows: Sequence[int]) -> tuple[dict[str, AnyArray], AnyArray]:
        pictures = [open_picture(self._lines[row].picture) for row in rows]
        images = np.stack([prepare(picture, self._preparation) for picture in pictures])
        if not self._several:
            return {"image": images}, np.array([self._rows[row][0] for row in rows])
        there = np.zeros((len(rows), self._labels), np.float32)
        for example, row in enumerate(rows):
            there[example, list(self._rows[row])] = 1
        return {"image": images}, there


class Arrays:
    """A folder of `NAME.npy`, one for each input of a network and `target.npy`: [N, ...], and only read where a batch
    needs them.
    """

    def __init__(self, folder: Path, config: NetConfig) -> None:
        shapes = {port.name: port.shape[1:] for port in config.inputs}
        self._arrays = {name: _opened(folder / f"{name}.npy") for name in (*shapes, TARGET)}
        for name, shape in shapes.items():
            _fit(folder / f"{name}.npy", self._arrays[name], shape)
        counts = {name: len(array) for name, array in self._arrays.items()}
        if len(set(counts.values())) != 1 or not counts[TARGET]:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise EdgeError(
                f"{folder} has not as many examples of each: {told}",
                fix="give as many rows in each",
            )
        self.count = counts[TARGET]
        digest = hashlib.sha256()
        for array in self._arrays.values():
            for at in range(0, self.count, 1024):
                digest.update(np.ascontiguousarray(array[at : at + 1024]).tobytes())
        self.digest = digest.hexdigest()

    @property
    def target(self) -> AnyArray:
        return self._arrays[TARGET]

    def take(self, rows: Sequence[int]) -> tuple[dict[str, AnyArray], AnyArray]:
        found = {name: np.array(array[list(rows)]) for name, array in self._arrays.items()}
        target = found.pop(TARGET)
        return {name: array.astype(np.float32) for name, array in found.items()}, target


def read_lines(file: Path) -> list[Line]:
    """Every line of a file; refuses a broken one, and one whose picture is not there, by its number."""
    found = [_line(value, file, where) for where, value in objects([str(file)], lambda _: None)]
    if not found:
        raise EdgeError(f"{file} has no line", fix='write lines such as {"image": …, "label": …}')
    return found


def names_of(lines: Iterable[Line]) -> list[str]:
    """Every label that some line has, in the order of the alphabet; refuses numbers, which name nothing."""
    found = set()
    for line in lines:
        for label in line.labels:
            if not isinstance(label, str):
                raise EdgeError(f"{line.where}: {label} is no name of a label", fix="name labels")
            found.add(label)
    return sorted(found)


def _line(value: Mapping[str, Any], file: Path, where: str) -> Line:
    if not isinstance(value.get("image"), str):
        raise Damaged(
            f"{where} names no image", fix='write {"image": "cats/1.jpg", "label": "cat"}'
        )
    labels = value.get("labels", [value["label"]] if "label" in value else None)
    if not isinstance(labels, list) or not all(map(_is_label, labels)):
        raise Damaged(f"{where} has no label", fix='write "label": "cat", or "labels": ["cat"]')
    return Line(picture_below(file, value["image"], where), tuple(labels), where)


def _is_label(value: Any) -> bool:
    return (isinstance(value, str) and value != "") or (type(value) is int and value >= 0)


def picture_below(file: Path, name: str, where: str) -> Path:
    """A picture of a data set lies with it: a line of a stranger's names no other file."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise EdgeError(
            f"{where}: {name!r:.80} is not below {file.parent}", fix="put pictures beside the file"
        )
    found = file.parent / path
    if not found.is_file():
        raise EdgeError(
            f"{where}: there is no picture {found}", fix="correct the line, or remove it"
        )
    return found


def _rows(line: Line, labels: Sequence[str], *, several: bool) -> tuple[int, ...]:
    """The rows of a head that a line's labels stand for."""
    if not several and len(line.labels) != 1:
        raise EdgeError(
            f"{line.where} has {len(line.labels)} labels, and the loss wants one",
            fix="give one, or train with the loss binary-cross-entropy",
        )
    places = {label: row for row, label in enumerate(labels)}
    found = [label if isinstance(label, int) else places.get(label, -1) for label in line.labels]
    for label, row in zip(line.labels, found, strict=True):
        if not 0 <= row < len(labels):
            some = ", ".join(labels[:_SHOWN])
            raise EdgeError(
                f"{line.where}: the model has no label {label!r:.80}; its {len(labels)} begin with {some}",
                fix="correct it, or give the model a head of its own: `labels: new` in the recipe",
            )
    return tuple(found)


def _opened(file: Path) -> AnyArray:
    if not file.is_file():
        raise EdgeError(
            f"there is no {file}", fix="give a folder with an array of each input, and target.npy"
        )
    try:
        found: AnyArray = np.load(file, mmap_mode="r")
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise Damaged(
            f"{file} is no array of numpy's: {error!s:.120}", fix="save it again"
        ) from None
    if found.ndim == 0 or found.dtype.kind not in "fiu":
        raise Damaged(f"{file} holds no rows of numbers", fix="save floats or whole numbers")
    return found


def _fit(file: Path, array: AnyArray, shape: Sequence[int | str]) -> None:
    fits = array.ndim == len(shape) + 1 and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(array.shape[1:], shape, strict=False)
    )
    if not fits:
        raise EdgeError(
            f"{file} has the shape {list(array.shape)}",
            fix=f"give [N, {', '.join(map(str, shape))}]",
        )


def check_targets(file: Path, target: AnyArray, out: Sequence[int | str], loss: str) -> None:
    """Refuses what no loss of an output [B, *out] takes: whole numbers of its last axis, or numbers like it."""
    if loss == "cross-entropy":
        _fit(file, target, out[:-1])
        classes = out[-1]
        least, most = int(target.min()), int(target.max())
        whole = target.dtype.kind in "iu" or bool((np.asarray(target) % 1 == 0).all())
        if not whole or least < -1 or (isinstance(classes, int) and most >= classes):
            raise EdgeError(
                f"{file} has targets from {least} to {most}",
                fix=f"give rows of the output, 0 to {classes} less one; or -1 for what costs nothing",
            )
        return
    _fit(file, target, out)
    if loss == "binary-cross-entropy" and not 0 <= float(target.min()) <= float(target.max()) <= 1:
        raise EdgeError(f"{file} has targets that are no shares", fix="give numbers from 0 to 1")


def sources(data: Sequence[str]) -> Mapping[str, list[Path]]:
    """Files of lines and folders of arrays, of which a run has one kind."""
    found: dict[str, list[Path]] = {"lines": [], "arrays": []}
    for name in data:
        path = Path(name)
        if not path.exists():
            raise EdgeError(
                f"there is no {path}", fix="name a file of JSON lines, or a folder of arrays"
            )
        found["arrays" if path.is_dir() else "lines"].append(path)
    if len(found["arrays"]) > 1 or (found["arrays"] and found["lines"]):
        raise EdgeError("several folders of arrays", fix="give one folder, or files of JSON lines")
    if not data:
        raise EdgeError(
            "this recipe names no examples", fix="give --data FILE.jsonl, or a folder of arrays"
        )
    return found
