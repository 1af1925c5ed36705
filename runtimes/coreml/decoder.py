"""A decoder over the functions of one or more packages, whoever runs them.

Functions read a fixed number of positions: a prompt is cut into the longest that fit, and its rest is
padded. Padded rows of the cache lie after the sequence, where no position sees them, and are
overwritten; near the end of the cache, where they would not fit, single steps take over.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray

_CHUNK = re.compile(r"model(?:-(\d{5})-of-(\d{5}))?\.mlpackage")
_FIX = "convert again"


class Caller(Protocol):
    """Runs the functions of one package; the states are its own."""

    @property
    def functions(self) -> Sequence[str]: ...

    def call(self, name: str, inputs: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]: ...


class CoreMlDecoder:
    """`edge.protocols.Decoder` over the packages of one artifact, in order.

    `label`: what names of functions begin with, for one part of `edge.spec.parts`.
    """

    def __init__(self, spec: DecoderSpec, callers: Sequence[Caller], label: str = "") -> None:
        self.spec = spec
        self.capacity = spec.context
        self._callers = callers
        self._label = label.replace("-", "_")
        self._prompts = self._lengths("prompt")
        self._scores = self._lengths("score")
        self._length = 0
        missing = [f"{self._label}step"] if not self._has("step") else []
        if missing:
            raise Damaged(f"the packages have no function {missing[0]}", fix=_FIX)

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self._read("prompt", self._prompts, tokens)[-1][-1]

    def step(self, token: int) -> F32:
        return self._call("step", [token], 1)[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        return np.concatenate(self._read("score", self._scores, tokens))

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self._length, f"rewind to {length} of {self._length}"
        self._length = length

    def _read(self, kind: str, lengths: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        """Append tokens -> the logits of each call."""
        assert 0 < len(tokens) <= self.capacity - self._length, (
            f"{len(tokens)} after {self._length} of {self.capacity}"
        )
        out, at = [], 0
        while at < len(tokens):
            length = self._fitting(lengths, len(tokens) - at)
            name = "step" if length == 1 else f"{kind}{length}"
            part = tokens[at : at + length]
            out.append(self._call(name, part, length))
            at += len(part)
        return out

    def _fitting(self, lengths: Sequence[int], left: int) -> int:
        """The longest call that `left` tokens fill, or the shortest that holds them, or a step."""
        filled = [n for n in lengths if n <= left]
        if filled:
            return max(filled)
        room = self.capacity - self._length
        padded = [n for n in lengths if left < n <= room]
        return min(padded) if padded and left > 1 else 1

    def _call(self, name: str, tokens: Sequence[int], length: int) -> F32:
        """Append tokens -> logits of the last one, or of all of them: [1 or T, V]."""
        assert self._length < self.capacity, f"a step after {self._length} of {self.capacity}"
        ids = np.zeros((1, length), np.int32)
        ids[0, : len(tokens)] = tokens
        given: dict[str, AnyArray] = {
            "position": np.array([self._length], np.int32),
            "rows": np.array([self._length], np.int32),
        }
        x, carried = ids, "inputIds"
        for caller in self._callers:
            inputs = {carried: x, **given}
            if caller is self._callers[-1] and name.startswith("prompt"):
                inputs["last"] = np.array([len(tokens) - 1], np.int32)
            ((_, x),) = caller.call(self._label + name, inputs).items()
            carried = "hidden"
        self._length += len(tokens)
        logits: F32 = np.asarray(x, np.float32)[0]
        return logits[: len(tokens)]

    def _lengths(self, kind: str) -> list[int]:
        """Lengths of the functions of a kind that every package has."""
        pattern = re.compile(re.escape(self._label + kind) + r"(\d{1,6})")
        found = [
            {int(match[1]) for name in caller.functions if (match := pattern.fullmatch(name))}
            for caller in self._callers
        ]
        return sorted(n for n in set.intersection(*found) if 0 < n <= self.capacity)

    def _has(self, name: str) -> bool:
        return all(self._label + name in caller.functions for caller in self._callers)


def packages(folder: Path) -> list[Path]:
    """The packages of an artifact, in order, all of them."""
    found = sorted(path for path in folder.iterdir() if _CHUNK.fullmatch(path.name))
    matches = [_CHUNK.fullmatch(path.name) for path in found]
    numbers = [(match[1], match[2]) for match in matches if match]
    count = len(found)
    whole = [(f"{i + 1:05d}", f"{count:05d}") for i in range(count)]
    if not found or (numbers != [(None, None)] and numbers != whole):
        names = ", ".join(path.name for path in found) or "none"
        raise Damaged(f"{folder} should hold model.mlpackage, and holds {names}", fix=_FIX)
    return found
