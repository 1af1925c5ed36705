"""Bombs in every JSON file that is read: depth, size, digits, encodings, names that are there twice."""

import json
import os
import resource
from pathlib import Path

import pytest
from attack import refused
from support import config_of, tiny

from edge.artifact.manifest import MANIFEST
from edge.errors import Damaged
from edge.files.config import LIMIT, parse_json
from edge.measure.inspection import inspect
from edge.source.headers import INDEX, SINGLE
from edge.source.pull import read_pins
from edge.text.settings import Settings

FILES = (
    "config.json",
    INDEX,
    MANIFEST,
    "tokenizer_config.json",
    "generation_config.json",
    "models.lock",
)
WHOLE = json.dumps(config_of("llama")).encode()
BOMBS = {
    "deep lists": b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "as deep as it goes": b'{"a": ' + b"[" * 994 + b"]" * 994 + b"}",
    "cut off": WHOLE[:-1],
    "digits": b'{"hidden_size": ' + b"9" * 100_000 + b"}",
    "an exponent": b'{"hidden_size": 1e999999999}',
    "not a number": b'{"hidden_size": NaN}',
    "UTF-16": WHOLE.decode().encode("utf-16")[:-1],
    "not UTF-8": WHOLE.replace(b"llama", b"ll\xffma"),
    "half a character": WHOLE.replace(b"llama", b"ll\\ud800ma"),
    "a comment": WHOLE + b"// a comment",
    "two objects": WHOLE + WHOLE,
    "nothing": b"",
    "blanks": b" " * 1_000_000,
    "a list": b"[" + WHOLE + b"]",
    "a text": b'"{}"',
    "a pickle": b"\x80\x04}q\x00.",
}


def read(folder: Path, name: str) -> object:
    """Whatever reads a file of this name."""
    if name == INDEX:
        (folder / SINGLE).unlink(missing_ok=True)  # beside which no index is read
    if name == "models.lock":
        return read_pins()
    if name.startswith(("tokenizer", "generation")):
        return Settings.load(folder)
    return inspect(folder)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint's folder, which is also where the lock file lies."""
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "source"))
    return tiny(tmp_path / "source")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(place: Path, name: str, bomb: str) -> None:
    (place / name).write_bytes(BOMBS[bomb])
    harmless = bomb in ("digits", "an exponent", "not a number", "as deep as it goes")
    if harmless and name.startswith(("tokenizer", "generation")):
        bomb = "cut off"  # fields that these files do not have are not read
        (place / name).write_bytes(BOMBS[bomb])
    with refused(Damaged):
        read(place, name)


@pytest.mark.parametrize("name", FILES)
def test_more_than_is_read(place: Path, name: str) -> None:
    with (place / name).open("wb") as file:
        file.truncate(50 << 30)
    with refused(Damaged, "larger than"):
        read(place, name)


@pytest.mark.parametrize("name", ["config.json", INDEX, MANIFEST, "models.lock"])
def test_a_pipe_is_not_waited_for(place: Path, name: str) -> None:
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    if name == MANIFEST:
        assert read(place, name), "it is no file, so the folder is no artifact"
    else:
        with pytest.raises(Exception, match=r"does not exist|is no checkpoint|has no model"):
            read(place, name)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"ab",', b"1.5,", b'{"a":[]},'])
def test_what_small_texts_become_in_memory(unit: bytes) -> None:
    """Sixteen MiB of the worst: bounded, if not small."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = b'{"a":[' + unit * ((LIMIT - 16) // len(unit)) + b"0]}"
    assert len(content) <= LIMIT
    parse_json(content, "it")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 700 << 10, f"{grown >> 10} MiB"
