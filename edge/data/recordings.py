"""Recordings of people who speak, as others lay them out, each with what it says and who says it.

A sound file with its text beside it, as LibriTTS (arXiv 1904.02882) and LibriSpeech have them; the `metadata.csv` of
LJSpeech; lines of JSON.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.data.frame.sources import lines, opened, parsed
from edge.data.frame.step import Drop, Part, Reading, Row

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
LINES, TABLE = ".jsonl", ".csv"
KINDS = (*SOUNDS, LINES, TABLE)
METADATA = "metadata.csv"
TIMES = ".times.json"
_TEXTS = (".normalized.txt", ".txt")
_TRANSCRIPTS = ".trans.txt"
_MOST_TIMES = 10_000
_PART = 256 << 10  # bytes: a line stands for a sound that takes a thousand times as long as a text

Read = dict[str, Any] | Drop


def chosen(files: list[Path]) -> list[Path]:
    """Of a folder's files: beside a table or lines, or below, sounds are theirs; other tables are none of ours."""
    lists = [file for file in files if file.name == METADATA or file.suffix.lower() == LINES]
    owned = {file.parent for file in lists}
    sounds = [
        file for file in files if file.suffix.lower() in SOUNDS and owned.isdisjoint(file.parents)
    ]
    return sorted([*lists, *sounds], key=lambda file: file.parts)


def records(part: Part, longest: int) -> Iterator[Row | tuple[Row, Drop]]:
    """Each with `text`, `voice`, `audio` (the whole path of its sound) and, where somebody knew them, `times`."""
    path = Path(part.path)
    if path.suffix.lower() in SOUNDS:
        found: Iterator[tuple[int, Read]] = iter([(1, _beside(path, longest))])
    else:
        found = _listed(part, path, longest)
    for number, one in found:
        row = Row(part.name, number, {} if isinstance(one, Drop) else one)
        yield (row, one) if isinstance(one, Drop) else row


def _listed(part: Part, path: Path, longest: int) -> Iterator[tuple[int, Read]]:
    read = _of_json if path.suffix.lower() == LINES else _of_table
    with opened(part) as file:
        for number, content in lines(file, part.line, longest):
            yield number, content if isinstance(content, Drop) else read(content, path.parent)


def _of_json(content: bytes, folder: Path) -> Read:
    record = parsed(content)
    if isinstance(record, Drop):
        return record
    audio, voice = record.get("audio"), record.get("voice")
    if not isinstance(audio, str) or not isinstance(voice, str) or not voice.strip():
        return Drop("no record", "`audio` and `voice` are texts")
    times = timed(record["times"]) if record.get("times") is not None else None
    return (
        times if isinstance(times, Drop) else _record(record["text"], voice, folder, audio, times)
    )


def _of_table(content: bytes, folder: Path) -> Read:
    """A line of LJSpeech: a name (of a file in wavs/, or a file's own), what is written, what is read; no quoting."""
    try:
        name, *texts = content.decode().rstrip("\r").split("|")
    except UnicodeDecodeError as error:
        return Drop("not UTF-8", error.reason)
    if not texts or len(texts) > 2 or not texts[-1].strip():
        return Drop(
            "no text", f"{len(texts) + 1} columns; a line is NAME|TEXT or NAME|TEXT|AS IT IS READ"
        )
    given = [folder / "wavs" / f"{name}{kind}" for kind in SOUNDS]
    if name.lower().endswith(SOUNDS):
        given = [folder / name, folder / "wavs" / name]
    found = next((file for file in given if _is_file(file)), given[0])
    audio = str(found.relative_to(folder))
    return _record(texts[-1], folder.resolve().name, folder, audio, None)


def _record(text: str, voice: str, folder: Path, audio: str, times: Any) -> Read:
    """A sound lies beside its list or below it: nobody's list opens another's files."""
    path = folder / audio
    if not _is_file(path):
        return Drop("no sound", f"there is no file {audio:.200}")
    if not path.resolve().is_relative_to(folder.resolve()):
        return Drop("no sound", f"{audio:.200} lies outside of the list's folder")
    return {"text": text, "voice": voice, "audio": str(path.absolute()), "times": times}


def _is_file(path: Path) -> bool:
    """Also of a name that no file can have: too long, or with a zero in it."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _beside(path: Path, longest: int) -> Read:
    """Of a sound whose text lies beside it."""
    text = _text(path, longest)
    if isinstance(text, Drop):
        return text
    times: Any = None
    file = path.with_name(path.stem + TIMES)
    if file.is_file():
        content = _content(file, longest)
        times = content if isinstance(content, Drop) else timed(_json(content))
        if isinstance(times, Drop):
            return times
    return {"text": text, "voice": _voice(path), "audio": str(path.absolute()), "times": times}


def _voice(path: Path) -> str:
    """SPEAKER/CHAPTER/SPEAKER_CHAPTER_…, as LibriTTS and LibriSpeech name files; else the folder is somebody."""
    speaker, chapter = path.absolute().parts[-3:-1]
    named = any(path.stem.startswith(f"{speaker}{mark}{chapter}{mark}") for mark in "_-")
    return speaker if named else chapter


def _text(path: Path, longest: int) -> str | Drop:
    for kind in _TEXTS:
        file = path.with_name(path.stem + kind)
        if file.is_file():
            content = _content(file, longest)
            return content if isinstance(content, Drop) else (content.strip() or Drop("empty"))
    for file in sorted(path.parent.glob(f"*{_TRANSCRIPTS}")):
        content = _content(file, longest)
        if isinstance(content, Drop):
            return content
        said = next((x for x in content.splitlines() if x.split(" ", 1)[0] == path.stem), "")
        if " " in said:
            return said.split(" ", 1)[1].strip() or Drop("empty")
    return Drop("no text", f"there is no {path.stem}{_TEXTS[0]} or {_TEXTS[1]} beside it")


def _content(file: Path, longest: int) -> str | Drop:
    with file.open("rb") as opened:
        content = opened.read(longest + 1)
    if len(content) > longest:
        return Drop("too long", f"{file.name} has more than {longest} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Drop("not UTF-8", f"{file.name}: {error.reason}")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def timed(value: Any) -> list[tuple[str, float]] | Drop:
    """Pairs of a symbol and where it ends, in seconds: none before the one that it follows."""
    wrong = Drop("no times", "times are [symbol, end in seconds], one after another")
    if not isinstance(value, list) or not 1 < len(value) <= _MOST_TIMES:
        return wrong
    last, out = 0.0, []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return wrong
        symbol, end = pair
        number = isinstance(end, int | float) and not isinstance(end, bool)
        if not isinstance(symbol, str) or not number or not (math.isfinite(end) and end >= last):
            return wrong
        out.append((symbol, float(end)))
        last = end
    return out


READING = Reading(kinds=KINDS, records=records, lined=(LINES, TABLE), chosen=chosen, part=_PART)
