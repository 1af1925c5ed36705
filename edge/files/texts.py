"""Texts that the user gives, by a file or through stdin: UTF-8, with or without the mark that some
editors put before it.
"""

import codecs
import sys
from pathlib import Path

from edge.errors import EdgeError

MARK = codecs.BOM_UTF8
_OTHERS = {  # the longer marks first: one begins with another
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def text_of(file: Path) -> str:
    """The text of a file."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error.strerror or str(error)) from None
    return decoded(content, str(file))


def decoded(content: bytes, where: str) -> str:
    """The text that these bytes are; they came from `where`."""
    try:
        return content.removeprefix(MARK).decode()
    except UnicodeDecodeError as error:
        raise unreadable(where, other(content) or str(error)) from None


def other(content: bytes) -> str | None:
    """Which other encoding bytes say that they are in, if they do."""
    name = next((name for mark, name in _OTHERS.items() if content.startswith(mark)), None)
    return None if name is None else f"it is {name}"


def unreadable(where: Path | str, why: object) -> EdgeError:
    return EdgeError(
        f"{where} cannot be read as UTF-8 text: {why}", fix="give a text file, saved as UTF-8"
    )


def from_stdin() -> str:
    """All of stdin, which must hold something."""
    text = decoded(sys.stdin.buffer.read(), "stdin")
    if not text:
        raise EdgeError(
            "stdin holds no prompt", fix="pipe a text into it, or give the prompt itself"
        )
    return text
