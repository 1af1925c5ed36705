"""Early exits: the layers up to one, and those after it, are functions over one weight file and one cache,
so that a refused draft costs nothing to undo. `edge.decode.exits.Halves`. T tokens, D model width, V
vocabulary.
"""

import re
from collections.abc import Sequence

import numpy as np

from edge.errors import Damaged
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray
from edge_runtimes.coreml.decoder import FIX, Caller, CoreMlDecoder, Found, logits_of


class ExitCoreMlDecoder(CoreMlDecoder):
    """Its halves meet after `exit_` layers, in streams of [1, 1, D]."""

    def __init__(
        self, spec: DecoderSpec, callers: Sequence[Caller], label: str = "", *, exit_: int
    ) -> None:
        super().__init__(spec, callers, label)
        self._early = f"{self._label}early{exit_}"
        self._draft = f"{self._label}draft{exit_}"
        self._late = f"{self._label}late{exit_}_"
        self._late_rows = self._checked()

    def draft(self, token: int, *, ahead: int) -> tuple[AnyArray, F32]:
        found = self._first_layers(token, ahead, self._draft, self._early)
        return found["nextHidden"], logits_of(found, self._draft)[-1]

    def early(self, token: int, *, ahead: int) -> AnyArray:
        return self._first_layers(token, ahead, self._early)["nextHidden"]

    def late(self, left: Sequence[AnyArray]) -> F32:
        streams = np.concatenate(left, axis=1)  # [1, T, D]
        out, at = [], 0
        while at < streams.shape[1]:
            length = self._rows_of(streams.shape[1] - at)
            part = streams[:, at : at + length]
            count = part.shape[1]
            padded = np.pad(part, ((0, 0), (0, length - count), (0, 0)))
            name = f"{self._late}{length}"
            out.append(logits_of(self._run((name,), padded), name)[:count])
            self._more(count)
            at += count
        return np.concatenate(out)

    def _first_layers(self, token: int, ahead: int, *names: str) -> Found:
        """A token up to the exit, where it has a stream."""
        found = self._run(names, np.array([[token]], np.int32), ahead=ahead)
        if "nextHidden" not in found:
            raise Damaged(f"the function {names[-1]} gives no stream", fix=FIX)
        return found

    def _rows_of(self, left: int) -> int:
        """The shortest call that takes all rows, padded; else the longest that they fill."""
        whole = [n for n in self._late_rows if left <= n <= self._room]
        return min(whole) if whole else max(n for n in self._late_rows if n <= left)

    def _checked(self) -> list[int]:
        """How many rows go on together, in every package that has layers after the exit. It lies in one
        package or between two: those up to it have the first layers, those from it on the others.
        """
        pattern = re.compile(re.escape(self._late) + r"(\d{1,4})")
        early = [self._early in caller.functions for caller in self._callers]
        late = [
            {int(match[1]) for name in caller.functions if (match := pattern.fullmatch(name))}
            for caller in self._callers
        ]
        last, first = sum(early) - 1, next((i for i, rows in enumerate(late) if 1 in rows), -1)
        if early != [i <= last for i in range(len(early))] or last < 0:
            raise _missing(self._early)
        if first not in (last, last + 1) or any(1 not in rows for rows in late[first:]):
            raise _missing(f"{self._late}1")
        if self._draft not in self._callers[-1].functions:
            raise _missing(self._draft)
        return sorted(n for n in set.intersection(*late[first:]) if n > 0)


def _missing(name: str) -> Damaged:
    return Damaged(f"the packages have no function {name}", fix=FIX)
