"""Early exits on ONNX Runtime: the layers up to the exit and those after it are two graphs over one data
file, each followed by the head; every layer's weights are packed once. T tokens, D model width, V
vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.onnx.call import Entry
from edge_runtimes.onnx.decoder import OnnxDecoder

_DRAFTS = 64  # the most tokens that are drafted before they are finished


class ExitOnnxDecoder(OnnxDecoder):
    """`edge.protocols.EarlyExit`, never exact."""

    def __init__(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        exit_: int,
        threads: int | None = None,
        part: str = "",
    ) -> None:
        draft = Entry(file=f"{part}draft-{exit_}.onnx", stop=exit_, drafts=True, counted=True)
        # Two sessions take turns: threads of one must not keep the cores from the other.
        super().__init__(folder, spec, threads=threads, part=part, step=draft, alone=False)
        self._late = Entry(file=f"{part}finish-{exit_}.onnx", start=exit_, asked=True, counted=True)
        self._call(self._late)
        self._streams = np.zeros((_DRAFTS, spec.width), np.float32)  # after the exit
        self._drafted = 0

    def draft(self, token: int) -> F32:
        return self._early((token,))

    def finish(self, token: int) -> F32:
        self._early((token,))
        return self._finished(rows=self._drafted)

    def rewind(self, length: int) -> None:
        self._drafted = 0
        super().rewind(length)

    def _run(self, entry: Entry, tokens: Sequence[int], *, last: bool) -> F32:
        """A chunk of a prompt, or rows to score: through both halves at once."""
        assert self._length + len(tokens) <= self.capacity, "a full cache"
        self._drafted = 0
        if len(self._streams) < len(tokens):
            self._streams = np.zeros((len(tokens), self.spec.width), np.float32)
        self._early(tokens)
        return self._finished(rows=1 if last else len(tokens))

    def _early(self, tokens: Sequence[int]) -> F32:
        """More tokens up to the exit, where their streams are kept -> logits [V] after the last."""
        at, end = self._drafted, self._drafted + len(tokens)
        assert end <= len(self._streams), "too long a draft"
        if at == 0:  # a cache that grows keeps finished rows only
            self.reserve(max(_DRAFTS, len(tokens)))
        call = self._call(self._step)
        call.bind_stream(self._streams[at:end])
        logits = call.run(tokens, start=self._length + at, past=self._rows + at, rows=1)
        self._drafted = end
        return logits[-1]

    def _finished(self, *, rows: int) -> F32:
        """All drafted tokens through the other layers -> logits of the last rows, [rows, V]."""
        count, self._drafted = self._drafted, 0
        call = self._call(self._late)
        logits = call.run(self._streams[:count], start=self._length, past=self._rows, rows=rows)
        self._more(count)
        return logits
