"""Early exits on ONNX Runtime: the layers up to the exit, those after it and the head are three graphs
over one data file, each weight packed once. T tokens, D model width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.spec import DecoderSpec
from edge.typing import F32
from runtimes.onnx.call import Entry
from runtimes.onnx.decoder import OnnxDecoder

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
        early = Entry(file=f"{part}early-{exit_}.onnx", stop=exit_, ends=False, counted=True)
        # Three sessions take turns: threads of one that spin would keep the cores from the next.
        super().__init__(folder, spec, threads=threads, part=part, step=early, spin=False)
        late = replace(early, file=f"{part}late-{exit_}.onnx", start=exit_, stop=None, asked=True)
        self._late = late
        head = Entry(file=part + "head.onnx", start=len(spec.layers))
        self._head = self._draft_head = self._opened(head)
        if spec.draft_vocab is not None:
            trimmed = replace(head, file=part + "draft-head.onnx", vocab=spec.draft_vocab)
            self._draft_head = self._opened(trimmed)
        self._call(self._late)
        self._streams = np.zeros((_DRAFTS, spec.width), np.float32)  # after the exit, of drafts
        self._drafted = 0

    def draft(self, token: int) -> F32:
        stream = self._early((token,))
        return self._draft_head.run(stream, start=0, past=self._rows, rows=1)[-1]

    def finish(self, token: int) -> F32:
        self._early((token,))
        count, self._drafted = self._drafted, 0
        return self._finished(self._streams[:count], rows=count)

    def rewind(self, length: int) -> None:
        self._drafted = 0
        super().rewind(length)

    def _run(self, entry: Entry, tokens: Sequence[int], *, last: bool) -> F32:
        """A chunk of a prompt, or rows to score: through both halves at once."""
        assert self._length + len(tokens) <= self.capacity, "a full cache"
        self._drafted = 0
        self.reserve(len(tokens))
        call = self._call(self._step)
        stream = call.run(tokens, start=self._length, past=self._rows, rows=len(tokens))
        return self._finished(stream, rows=1 if last else len(tokens))

    def _early(self, tokens: Sequence[int]) -> F32:
        """Drafted tokens up to the exit; their streams are kept."""
        at = self._drafted
        assert at + len(tokens) <= _DRAFTS, "too long a draft"
        if at == 0:  # a cache that grows keeps finished rows only
            self.reserve(_DRAFTS)
        call = self._call(self._step)
        stream = call.run(tokens, start=self._length + at, past=self._rows + at, rows=len(tokens))
        self._streams[at : at + len(tokens)] = stream
        self._drafted = at + len(tokens)
        return stream

    def _finished(self, stream: F32, *, rows: int) -> F32:
        call = self._call(self._late)
        out = call.run(stream, start=self._length, past=self._rows, rows=rows)
        self._more(len(stream))
        return self._logits(out)

    def _logits(self, stream: F32) -> F32:
        return self._head.run(stream, start=0, past=self._rows, rows=len(stream))
