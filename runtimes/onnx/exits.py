"""Early exits on ONNX Runtime: the layers up to the exit and those after it are two graphs over one data
file, each followed by the head; every layer's weights are packed once. T tokens, D model width, V
vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.contracts import Opening
from edge.typing import F32, Fed
from edge_runtimes.onnx.call import Entry
from edge_runtimes.onnx.decoder import OnnxDecoder

_DRAFTS = 64  # the most tokens that are drafted before they are finished


class ExitOnnxDecoder(OnnxDecoder):
    """`edge.decode.exits.Halves`, never exact. A token leaves the place of its stream."""

    def __init__(self, opening: Opening, *, exit_: int) -> None:
        part, draft = opening.part, self._first(exit_)
        # Two sessions take turns: threads of one must not keep the cores from the other.
        super().__init__(opening, step=replace(draft, file=part + draft.file), alone=False)
        self._late = Entry(file=f"{part}finish-{exit_}.onnx", start=exit_, asked=True, counted=True)
        self._call(self._late)
        self._streams = np.zeros((_DRAFTS, self.spec.width), np.float32)  # after the exit

    def _first(self, exit_: int) -> Entry:
        """The layers up to the exit."""
        return Entry(file=f"draft-{exit_}.onnx", stop=exit_, drafts=True, counted=True)

    def draft(self, token: int, *, ahead: int) -> tuple[int, F32]:
        return ahead, self._early((token,), at=ahead)

    def early(self, token: int, *, ahead: int) -> int:
        self._early((token,), at=ahead)
        return ahead

    def late(self, left: Sequence[int]) -> F32:
        return self._finished(len(left), rows=len(left))

    def _run(self, entry: Entry, fed: Fed, *, last: bool) -> F32:
        """A chunk of a prompt, or rows to score: through both halves at once."""
        count = len(fed)
        assert self._length + count <= self.capacity, "a full cache"
        if len(self._streams) < count:
            self._streams = np.zeros((count, self.spec.width), np.float32)
        self._early(fed, at=0)
        return self._finished(count, rows=1 if last else count)

    def _early(self, fed: Fed, *, at: int) -> F32:
        """What is fed up to the exit, its streams kept from place `at` on -> logits [V] after the last."""
        end = at + len(fed)
        assert end <= len(self._streams), "too long a draft"
        if at == 0:  # a cache that grows keeps finished rows only
            self.reserve(max(_DRAFTS, len(fed)))
        call = self._call(self._step)
        call.bind_stream(self._streams[at:end])
        return call.run(fed, start=self._length + at, past=self._rows + at, rows=1)[-1]

    def _finished(self, count: int, *, rows: int) -> F32:
        """The first streams through the other layers -> logits of the last rows, [rows, V]."""
        call = self._call(self._late)
        logits = call.run(self._streams[:count], start=self._length, past=self._rows, rows=rows)
        self._more(count)
        return logits
