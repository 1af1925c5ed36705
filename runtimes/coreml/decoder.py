"""A decoder over the functions of one or more packages, whoever runs them.

Functions read a fixed number of positions: a prompt is cut into the longest that fit, and its rest is
padded. Padded rows of the cache lie after the sequence, where no position sees them, and are
overwritten; near the end of the cache, where they would not fit, single steps take over.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.system.cancellation import go_on
from edge.typing import F32, AnyArray, Fed

FIX = "convert again"
_CHUNK = re.compile(r"model(?:-(\d{5})-of-(\d{5}))?\.mlpackage")


class Caller(Protocol):
    """Runs the functions of one package; the states are its own."""

    @property
    def functions(self) -> Mapping[str, Collection[str]]:
        """Names of inputs, by function."""
        ...

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]: ...


class CoreMlDecoder:
    """`edge.protocols.Decoder` over the packages of one artifact, in order.

    `label`: what names of functions begin with, for one part of `edge.spec.parts`.
    """

    def __init__(self, spec: DecoderSpec, callers: Sequence[Caller], label: str = "") -> None:
        self.spec = spec
        self.capacity = spec.context
        self._callers = callers
        self._label = self._at = label.replace("-", "_")
        self._length = 0  # tokens
        self._rows = 0  # of the cache
        self._size = spec.context  # rows that the cache has room for
        self._need("step")

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        logits: F32 = self._read("prompt", tokens)[-1]["logits"][-1]
        return logits

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return np.concatenate([found["logits"] for found in self._read("score", tokens)])

    def rewind(self, length: int) -> None:
        gone = self._length - length
        assert length == 0 or 0 <= gone <= self._rows, f"rewind to {length} of {self._length}"
        self._rows = 0 if length == 0 else self._rows - gone
        self._length = length

    def _read(self, kind: str, tokens: Fed, single: str = "step") -> list["Found"]:
        """Append tokens, or rows [T, D] -> what each call gave; `single`: the function that reads one."""
        assert 0 < len(tokens) <= self.capacity - self._length, (
            f"{len(tokens)} after {self._length} of {self.capacity}"
        )
        lengths = [n for n in self._lengths(kind) if n > 1]
        out, at = [], 0
        while at < len(tokens):
            if at:
                go_on()
            length = self._fitting(lengths, len(tokens) - at)
            part = tokens[at : at + length]
            out.append(self._append(single if length == 1 else f"{kind}{length}", part, length))
            at += len(part)
        return out

    def _fitting(self, lengths: Sequence[int], left: int) -> int:
        """The longest call that `left` tokens fill, or the shortest that holds them, or a step."""
        filled = [n for n in lengths if n <= left]
        if filled:
            return max(filled)
        padded = [n for n in lengths if left < n <= self._room]
        return min(padded) if padded and left > 1 else 1

    @property
    def _room(self) -> int:
        """Rows that a call may write."""
        return min(self.capacity - self._length, self._size - self._rows)

    def _append(self, name: str, tokens: Fed, length: int) -> "Found":
        """Append tokens by one call -> logits of the last one, or of all of them, and the rest."""
        x, also = self._padded(tokens, length), _later(name)
        found = self._run((self._at + name, self._at + also), x, last=len(tokens) - 1)
        found["logits"] = logits_of(found, name)[: len(tokens)]
        self._more(len(tokens))
        return found

    def _padded(self, fed: Fed, length: int) -> AnyArray:
        rows = isinstance(fed, np.ndarray) and fed.ndim == 2
        shape = (1, length, self.spec.width) if rows else (1, length)
        x = np.zeros(shape, np.float32 if rows else np.int32)
        x[0, : len(fed)] = fed
        return x

    def _more(self, count: int) -> None:
        """So many tokens are in the cache now."""
        self._length += count
        self._rows += count

    def _run(self, names: Sequence[str], x: AnyArray, *, ahead: int = 0, last: int = 0) -> "Found":
        """In every package the first of these functions that it has, `ahead` rows after the sequence ->
        everything that they gave, the last one last.
        """
        given = {
            "position": np.array([self._length + ahead], np.int32),
            "rows": np.array([self._rows + ahead], np.int32),
            "last": np.array([last], np.int32),
        }
        found: Found = {}
        for caller in self._callers:
            name = next((name for name in names if name in caller.functions), None)
            if name is None:
                continue
            given["inputIds"] = given["hidden"] = found.get("nextHidden", x)
            found |= caller.call(name, {key: given[key] for key in caller.functions[name]})
        return found

    def _lengths(self, kind: str) -> list[int]:
        """Lengths of the functions of a kind that every package has."""
        pattern = re.compile(re.escape(self._at + kind) + r"(\d{1,6})")
        found = [
            {int(match[1]) for name in caller.functions if (match := pattern.fullmatch(name))}
            for caller in self._callers
        ]
        return sorted(n for n in set.intersection(*found) if 0 < n <= self.capacity)

    def _need(self, *names: str) -> None:
        """Functions that every package must have."""
        for name in names:
            if any(self._label + name not in caller.functions for caller in self._callers):
                raise Damaged(f"the packages have no function {self._label}{name}", fix=FIX)


def _later(name: str) -> str:
    """The function that goes on in the packages after the first, where rows are a stream like any other."""
    count = name.removeprefix("rows")
    return name if count == name else "step" if count == "1" else f"prompt{count}"


Found = dict[str, AnyArray]  # outputs by name


def logits_of(found: Found, name: str) -> F32:
    """[T, V], of what a function gave."""
    logits: F32 = np.asarray(found.get("logits", ()), np.float32)
    if logits.ndim != 3 or not logits.size:
        raise Damaged(f"the function {name} gives no logits", fix=FIX)
    return logits[0]


def packages(folder: Path) -> list[Path]:
    """The packages of an artifact, in order, all of them."""
    found = sorted(path for path in folder.iterdir() if _CHUNK.fullmatch(path.name))
    matches = [_CHUNK.fullmatch(path.name) for path in found]
    numbers = [(match[1], match[2]) for match in matches if match]
    count = len(found)
    whole = [(f"{i + 1:05d}", f"{count:05d}") for i in range(count)]
    if not found or (numbers != [(None, None)] and numbers != whole):
        names = ", ".join(path.name for path in found) or "none"
        raise Damaged(f"{folder} should hold model.mlpackage, and holds {names}", fix=FIX)
    return found
