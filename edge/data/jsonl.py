"""Files of JSON objects, one a line: what each line holds, and where it stands."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from edge.errors import EdgeError
from edge.files.config import parse_json
from edge.files.texts import MARK, other, unreadable

_LOG = "rejected.jsonl"  # of `edge data`: it tells of what is not there
LONGEST = 16 << 20  # bytes of a line
_FIX = "give a file of one JSON object a line, saved as UTF-8"


def objects(
    names: Sequence[str], update: Callable[[bytes], object]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object of each line that is not blank, and where it is; `update` is told every byte. Of a folder its
    *.jsonl files are read, by name.
    """
    for file in (file for name in names for file in files(Path(name), "*.jsonl")):
        if not file.is_file():  # a pipe or a device may never end
            raise unreadable(file, "there is no such file")
        try:
            with file.open("rb") as opened:
                for number, line in enumerate(lines(opened, file), 1):
                    update(line)
                    where = f"{file}, line {number}"
                    if content := _text(line if number > 1 else line.removeprefix(MARK), where):
                        yield where, parse_json(content.encode(), where, fix=_FIX)
        except OSError as error:
            raise unreadable(file, error.strerror) from None


def files(path: Path, *kinds: str) -> Iterator[Path]:
    """A file, or those of a folder by name, such as `edge data` writes; none that only points out of it."""
    if not path.is_dir():
        yield path
        return
    found = sorted(
        file
        for kind in kinds
        for file in path.glob(kind)
        if file.name != _LOG and file.resolve().is_relative_to(path.resolve())
    )
    if not found:
        raise EdgeError(
            f"{path} holds no {' or '.join(kinds)} file", fix="name the files to train on"
        )
    yield from found


def lines(opened: IO[bytes], file: Path) -> Iterator[bytes]:
    """Each line of a file with its end; one that is too long is refused."""
    number = 0
    while line := opened.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise EdgeError(
                f"{file}, line {number} has more than {LONGEST >> 20} MiB",
                fix="give a file of one JSON object a line, not one array",
            )
        yield line


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode().strip()
    except UnicodeDecodeError as error:
        raise unreadable(where, other(line) or error.reason) from None
