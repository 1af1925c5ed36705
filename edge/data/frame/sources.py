"""Files as records: where each begins, in parts that may be read apart, and which of them cannot be read.

A text file is one record; a file of JSON lines is one a line, with the text in `text`. What cannot be read is named
and counted, and ends nothing; a file that is cut off gives what lies before.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from edge.data.frame import arrow
from edge.data.frame.step import Drop, Part, Reading, Row
from edge.errors import EdgeError, Unsupported
from edge.files.hashing import sha256
from edge.files.texts import MARK, other

PART = 4 << 20  # bytes of a source that are worked on together
_CHUNK = 1 << 20
TEXTS, LINES, TABLES = (".txt", ".md"), (".jsonl", ".jsonl.gz", ".jsonl.zst"), (".parquet",)
KINDS = (*TEXTS, *LINES, *TABLES)
_DEPTH = 100  # tables within tables
_CUT_OFF = "cut off"
TEXT, TOKENS = "text", "tokens"  # what a record holds
_IDS = 1 << 24  # of tokens: no vocabulary is larger


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and the name that rows have it by: the same wherever its folder lies."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds: its hash, and its parts."""

    sha256: str
    parts: tuple[Part, ...]


def find(given: Sequence[str], reading: Reading | None = None) -> list[Source]:
    """The files that were named, and those of folders by name: texts, if it is not said what is read. What nobody can
    read is refused now.
    """
    reading = reading or TEXTUAL
    paths = [path for name in given for path in _files(Path(name), reading)]
    counts = Counter(path.resolve() for path in paths)
    twice = next((path for path, count in counts.items() if count > 1), None)
    if twice is not None:
        raise EdgeError(f"{twice} is named twice", fix="name each source once")
    above = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    found = [Source(path.absolute().relative_to(above).as_posix(), path) for path in paths]
    for source in found:
        _check(source, reading.kinds)
    return found


def survey(source: Source, size: int, lined: Sequence[str] = (".jsonl",)) -> Survey:
    """Read a file through once: its hash, and where it can be cut: between lines, if it is of such a kind."""
    try:
        if not source.path.name.lower().endswith(tuple(lined)):
            digest, end = sha256(source.path), source.path.stat().st_size
            whole = Part(source.name, str(source.path.absolute()), 0, end, 1, digest)
            return Survey(digest, (whole,))
        return _cut(source, size)
    except OSError as error:
        _unreadable(source.path, error)


def records(part: Part, longest: int) -> Iterator[Row | tuple[Row, Drop]]:
    """The records of a part in their order; of one that cannot be read, why."""
    for line, made in _read(part, longest):
        if isinstance(made, Drop):
            yield Row(part.name, line, {}), made
        else:
            yield Row(part.name, line, made)


Read = tuple[int, dict[str, Any] | Drop]


def _read(part: Part, longest: int) -> Iterator[Read]:
    kind = _kind(Path(part.path), KINDS)
    if kind in TABLES:
        yield from _table(part, longest)
        return
    with opened(part) as file:
        if kind in TEXTS:
            yield 1, _text(file, longest)
        else:
            for number, content in lines(file, part.line, longest):
                yield number, content if isinstance(content, Drop) else parsed(content)


def _files(path: Path, reading: Reading) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [file for file in path.rglob("*") if _of_folder(file, path, reading.kinds)]
    if not found:
        raise EdgeError(
            f"{path} holds no file of {', '.join(reading.kinds)}", fix="name the files themselves"
        )
    return reading.chosen(sorted(found, key=lambda file: file.relative_to(path).parts))


def _of_folder(file: Path, folder: Path, kinds: Sequence[str]) -> bool:
    """Whether a file is one of its texts: nothing hidden is (a run may lie there), nor what lies elsewhere."""
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    known = not hidden and _kind(file, kinds) is not None and file.is_file()
    return known and file.resolve().is_relative_to(folder.resolve())


def _kind(path: Path, kinds: Sequence[str]) -> str | None:
    name = path.name.lower()
    return next(
        (kind for kind in sorted(kinds, key=len, reverse=True) if name.endswith(kind)), None
    )


def _check(source: Source, kinds: Sequence[str]) -> None:
    kind = _kind(source.path, kinds)
    if not source.path.is_file():  # a pipe or a device may never end
        raise EdgeError(f"there is no file {source.path}", fix="check the name")
    if kind is None:
        raise EdgeError(f"{source.path} is of no kind that is read", fix=f"give {', '.join(kinds)}")
    if kind in (".parquet", ".jsonl.zst") and not arrow.there():
        raise Unsupported(
            f"{source.path} needs the package pyarrow, which is not installed",
            fix="pip install 'edge-toolkit[data]', or unpack it",
        )
    try:
        source.name.encode()
        with source.path.open("rb"):
            pass
    except UnicodeError:
        raise EdgeError(f"the name of {source.path} is not UTF-8", fix="rename it") from None
    except OSError as error:
        _unreadable(source.path, error)


def _unreadable(path: Path, error: OSError) -> NoReturn:
    raise EdgeError(
        f"{path} cannot be read: {error.strerror}", fix="give a file that can"
    ) from None


def _cut(source: Source, size: int) -> Survey:
    """Parts of at least so many bytes, each of whole lines."""
    whole, own = hashlib.sha256(), hashlib.sha256()
    path, parts = str(source.path.absolute()), []
    begin = at = 0
    line = here = 1  # of the part, and of where we are
    with source.path.open("rb", buffering=0) as file:
        while rest := file.read(_CHUNK):
            whole.update(rest)
            while end := rest.find(b"\n", max(0, begin + size - at - 1)) + 1:
                own.update(rest[:end])
                here, at, rest = here + rest.count(b"\n", 0, end), at + end, rest[end:]
                parts.append(Part(source.name, path, begin, at, line, own.hexdigest()))
                begin, line, own = at, here, hashlib.sha256()
            own.update(rest)
            here, at = here + rest.count(b"\n"), at + len(rest)
    if at > begin:
        parts.append(Part(source.name, path, begin, at, line, own.hexdigest()))
    return Survey(whole.hexdigest(), tuple(parts))


class _Range:
    """Bytes of a file from here on, hashed as they are read."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file, self._left, self.digest = file, left, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        content = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(content)
        self.digest.update(content)
        return content

    def drain(self) -> str:
        while self.read(_CHUNK):
            pass
        return self.digest.hexdigest()


@contextmanager
def opened(part: Part) -> Iterator["_Lines"]:
    """The bytes of a part, unpacked; once they were read they must be those that were surveyed."""
    path = Path(part.path)
    try:
        with path.open("rb") as file:
            file.seek(part.begin)
            raw = _Range(file, part.size)
            yield _Lines(_unpacked(raw, _kind(path, KINDS)))
            seen = raw.drain()
    except FileNotFoundError as error:
        _unreadable(path, error)
    if seen != part.sha256:
        raise _changed(part)


def _changed(part: Part) -> EdgeError:
    return EdgeError(
        f"{part.path} changed while it was read", fix="leave sources alone, and begin again"
    )


def _unpacked(raw: _Range, kind: str | None) -> Any:
    if kind == ".jsonl.gz":
        return _Gzip(raw)
    return arrow.unpacked(raw) if kind == ".jsonl.zst" else raw


class _Gzip:
    """What is there before a file is cut off is read, too."""

    def __init__(self, raw: _Range) -> None:
        self._file = gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[call-overload]  # only read

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


class _Lines:
    """Bytes, a line at a time, however long one is: of a long one nothing is kept."""

    def __init__(self, file: Any) -> None:
        self._file, self._held, self._at = file, b"", 0

    def line(self, longest: int) -> tuple[bytes, bool] | None:
        """The next one without its end, and whether it was too long to be kept; None after the last."""
        kept, size = bytearray(), 0
        while True:
            end = self._held.find(b"\n", self._at)
            stop = len(self._held) if end < 0 else end
            size += stop - self._at
            kept += self._held[self._at : stop] if size <= longest else b""
            self._at = stop + 1
            if end >= 0:
                return bytes(kept), size > longest
            self._held, self._at = self._file.read(_CHUNK), 0
            if not self._held:
                return (bytes(kept), size > longest) if size else None

    def all(self, longest: int) -> bytes | None:
        """Everything; None if it is too long."""
        content = bytearray()
        while piece := self._file.read(_CHUNK):
            content += piece
            if len(content) > longest:
                return None
        return bytes(content)


def _text(file: _Lines, longest: int) -> dict[str, Any] | Drop:
    content = file.all(longest)
    if content is None:
        return Drop("too long", f"more than {longest} bytes")
    try:
        text = content.removeprefix(MARK).decode()
    except UnicodeDecodeError as error:
        return Drop("not UTF-8", other(content) or error.reason)
    return {"text": text} if text.strip() else Drop("empty")


def lines(file: _Lines, first: int, longest: int) -> Iterator[tuple[int, bytes | Drop]]:
    """Each line and its number, of which the first is given; of one that is too long or cut off, that it is."""
    number = first
    while True:
        try:
            found = file.line(longest)
        except (OSError, EOFError, zlib.error) as error:
            if (
                isinstance(error, OSError) and error.errno is not None
            ):  # of the disk, not of the file
                raise
            yield number, Drop(_CUT_OFF, str(error))
            return
        if found is None:
            return
        content, long = found
        if number == 1:
            content = content.removeprefix(MARK)
        yield number, Drop("too long", f"more than {longest} bytes") if long else content
        number += 1


def parsed(content: bytes, kinds: Sequence[str] = (TEXT,)) -> dict[str, Any] | Drop:
    """The record that a line of JSON is, with a text in it, or with ids of tokens where those will do."""
    if not content.strip():
        return Drop("empty")
    try:
        text = content.decode()
        record = json.loads(text, parse_constant=_no_number)
        if "\\u" in text and "\\ud" in text.lower():
            json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except UnicodeDecodeError as error:
        return Drop("not UTF-8", other(content) or error.reason)
    except UnicodeEncodeError:
        return Drop("not UTF-8", "half of a surrogate pair")
    except (ValueError, RecursionError) as error:
        return Drop("not JSON", str(error)[:200])
    return _record(record, kinds)


def _record(record: Any, kinds: Sequence[str] = (TEXT,)) -> dict[str, Any] | Drop:
    if not isinstance(record, dict):
        return Drop("no record", f"a JSON {type(record).__name__}")
    if _deep(record, _DEPTH):
        return Drop("no record", f"more than {_DEPTH} levels deep")
    kind = next((kind for kind in kinds if record.get(kind) is not None), None)
    if kind is None:
        return Drop("no text", f"`{kinds[0]}` is missing")
    if kind == TOKENS:
        return record if _ids(record[kind]) else Drop("no tokens", "`tokens` are no ids")
    if not isinstance(record[kind], str):
        return Drop("no text", f"`{kind}` is no text")
    return record if record[kind].strip() else Drop("empty")


def _ids(value: Any) -> bool:
    """Whether these are ids of tokens, one at least."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(i) is int and 0 <= i < _IDS for i in value)
    )


def _deep(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_deep(one, left - 1) for one in inner)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _table(part: Part, longest: int) -> Iterator[Read]:
    """Rows of a parquet file, numbered from 1."""
    if sha256(Path(part.path)) != part.sha256:
        raise _changed(part)
    number = 0
    for number, row in enumerate(arrow.rows(Path(part.path)), start=1):
        if isinstance(row, str):
            yield number, Drop(_CUT_OFF, row)
        else:
            made = _record(row)
            long = isinstance(made, dict) and len(made["text"].encode(errors="replace")) > longest
            yield number, Drop("too long", f"more than {longest} bytes") if long else made


TEXTUAL = Reading(kinds=KINDS, records=records, lined=(".jsonl",))
