"""Early exits: the layers up to one, and those after it, are functions over one weight file and one cache,
so that a refused draft costs nothing to undo. `edge.protocols.EarlyExit`. T tokens, D model width, V
vocabulary.
"""

import re
from collections.abc import Sequence

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.spec import DecoderSpec
from edge.typing import F32, AnyArray
from runtimes.coreml.decoder import FIX, Caller, CoreMlDecoder, Found, logits_of


class ExitCoreMlDecoder(CoreMlDecoder):
    """Stops after `exit_` layers to draft."""

    def __init__(
        self, spec: DecoderSpec, callers: Sequence[Caller], label: str = "", *, exit_: int
    ) -> None:
        super().__init__(spec, callers, label)
        self._early = f"{self._label}early{exit_}"
        self._draft = f"{self._label}draft{exit_}"
        self._late = f"{self._label}late{exit_}_"
        self._streams: list[AnyArray] = []  # after the exit, of drafted tokens: [1, 1, D] each
        self._check()
        pattern = re.compile(re.escape(self._late) + r"(\d{1,4})")
        names = [pattern.fullmatch(name) for name in callers[-1].functions]
        self._rows_late = sorted({int(match[1]) for match in names if match})

    def draft(self, token: int) -> F32:
        found = self._first_layers(token, self._draft, self._early)
        logits = logits_of(found, self._draft)[-1]
        if len(logits) == self.spec.vocab:
            return logits
        out = np.full(self.spec.vocab, -np.inf, np.float32)  # ids of which no draft is
        out[: len(logits)] = logits
        return out

    def finish(self, token: int) -> F32:
        self._first_layers(token, self._early)
        streams = np.concatenate(self._streams, axis=1)  # [1, T, D]
        self._streams = []
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

    def rewind(self, length: int) -> None:
        self._streams = []
        super().rewind(length)

    def _append(self, name: str, tokens: Sequence[int], length: int) -> Found:
        self._streams = []
        return super()._append(name, tokens, length)

    def _first_layers(self, token: int, *names: str) -> Found:
        """A token up to the exit; its stream is kept."""
        ahead = len(self._streams)
        assert ahead < self._room, f"{ahead} drafted after {self._length} of {self.capacity}"
        found = self._run(names, np.array([[token]], np.int32), ahead=ahead)
        self._streams.append(found["nextHidden"])
        return found

    def _rows_of(self, left: int) -> int:
        """The shortest call that takes all rows, padded; else the longest that they fill."""
        whole = [n for n in self._rows_late if left <= n <= self._room]
        return min(whole) if whole else max(n for n in self._rows_late if n <= left)

    def _check(self) -> None:
        """The exit lies in one package or between two: those up to it have the first layers, those from
        it on the others.
        """
        early, late = (
            [i for i, caller in enumerate(self._callers) if name in caller.functions]
            for name in (self._early, f"{self._late}1")
        )
        count = len(self._callers)
        if not early or early != list(range(len(early))):
            raise _missing(self._early)
        if not late or late != list(range(late[0], count)) or late[0] not in (early[-1], len(early)):
            raise _missing(f"{self._late}1")
        if self._draft not in self._callers[-1].functions:
            raise _missing(self._draft)


def refuse_exit(folder: object, spec: DecoderSpec, exit_: int) -> None:
    """Say which exits an artifact keeps, if not this one."""
    if exit_ not in spec.exits:
        kept = ", ".join(map(str, spec.exits)) or "none"
        raise Unsupported(
            f"{folder} keeps no exit after layer {exit_} (kept: {kept})",
            fix=f"convert again with --layerskip {exit_}",
        )


def _missing(name: str) -> Damaged:
    return Damaged(f"the packages have no function {name}", fix=FIX)
