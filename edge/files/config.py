"""Typed access to a checkpoint's JSON: one of the two doors where foreign data enters.

A config may lie: every number is checked for its type and range, and an error names the field.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import Damaged, EdgeError, Unsupported

LIMIT = 16 << 20  # bytes of a JSON file; read, they may take thirty times as much memory
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Config:
    """A JSON object, and the file it came from."""

    data: Mapping[str, Any]
    where: str

    @classmethod
    def load(cls, file: Path) -> "Config":
        return cls(read_json(file), file.name)

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.data.get(key) is not None

    def integer(
        self, key: str, default: int = _MISSING, *, low: int = 1, high: int = 1 << 24
    ) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, default: float = _MISSING, *, low: float = 0.0) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < 1e12:
            raise self.wrong(key, f"a number above {low}")
        return float(value)

    def text(self, key: str, default: str = _MISSING) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def flag(self, key: str, default: bool = _MISSING) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def integers(self, key: str, *, low: int = 1) -> tuple[int, ...]:
        values = self._list(key)
        if any(
            isinstance(v, bool) or not isinstance(v, int) or not low <= v < 1 << 24 for v in values
        ):
            raise self.wrong(key, f"a list of integers from {low}")
        return tuple(values)

    def numbers(self, key: str, *, zero: bool = False) -> tuple[float, ...]:
        """Positive ones; `zero`: that, too."""
        values = self._list(key)
        if any(
            isinstance(v, bool)
            or not isinstance(v, int | float)
            or not (0 < v < 1e6 or (zero and v == 0))
            for v in values
        ):
            raise self.wrong(key, "a list of positive numbers" + (" or zeros" if zero else ""))
        return tuple(float(v) for v in values)

    def table(self, key: str) -> "Config | None":
        """A nested object; None if it is missing or null."""
        if not self.has(key):
            return None
        if not isinstance(self.data[key], dict):
            raise self.wrong(key, "an object")
        return Config(self.data[key], f"{self.where}: {key}")

    def tables(self, key: str) -> "tuple[Config, ...]":
        """A list of objects."""
        values = self._list(key)
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, "a list of objects")
        return tuple(Config(value, f"{self.where}: {key}") for value in values)

    def strings(self, key: str) -> dict[str, str]:
        """An object of strings; empty if it is missing or null."""
        table = self.table(key)
        return {} if table is None else {name: table.text(name) for name in table.data}

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse a setting that we would otherwise ignore; null and these values are none."""
        value = self.data.get(key)
        if value is not None and value not in allowed:
            which = " or ".join(map(repr, allowed)) or "null"
            raise Unsupported(
                f"{self.where}: {key} is {value!r:.80}; only {which} is supported",
                fix="convert a checkpoint without this setting, or add it to the spec and to edge.nn",
            )

    def _list(self, key: str) -> list[Any]:
        value = self._get(key, _MISSING)
        if not isinstance(value, list) or not 0 < len(value) <= 1 << 16:
            raise self.wrong(key, "a list")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self.data.get(key)
        if value is not None:
            return value
        if default is _MISSING:
            raise Damaged(
                f"{self.where}: field {key!r} is missing",
                fix="get the complete config.json of the model",
            )
        return default

    def wrong(self, key: str, expected: str) -> Damaged:
        """An error to raise: the field is not what is expected."""
        got = repr(self.data.get(key))[:60]
        return Damaged(f"{self.where}: {key} is {got}, not {expected}", fix="correct the field")


def is_plain(name: str) -> bool:
    """Whether a name found in a file is that of a file beside it, and no path on any system."""
    short = len(name.encode(errors="replace")) < 256
    return short and name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    if not file.parent.is_dir():
        raise EdgeError(f"there is no folder {file.parent}", fix="check its name")
    if not file.is_file():
        raise Damaged(
            f"{file} does not exist", fix="name a folder that holds a whole checkpoint or artifact"
        )
    if file.stat().st_size > LIMIT:
        raise Damaged(
            f"{file} is larger than {LIMIT >> 20} MiB", fix="this is no config: get the file again"
        )
    return parse_json(file.read_bytes(), str(file))


def parse_json(content: bytes, where: str, *, fix: str | None = None) -> dict[str, Any]:
    """A JSON object from bytes that came from `where`; `fix`: what to do where they are none."""
    try:
        value = json.loads(content)
        if re.search(rb"\\u[dD][89a-fA-F]", content):
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Damaged(
            f"{where} is not JSON: {error}", fix=fix or "get the file again: it may be cut off"
        ) from None
    if not isinstance(value, dict):
        raise Damaged(f"{where} does not hold a JSON object", fix=fix or "get the file again")
    return value
