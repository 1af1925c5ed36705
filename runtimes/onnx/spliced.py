"""A decoder that takes rows for tokens: `edge.protocols.Spliced`, over one session.

Its graph begins after the embedding, whose rows are read from the data file as they are asked for: a second
session for tokens would hold every weight twice. T tokens, D model width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import Opening
from edge.system.cancellation import go_on
from edge.typing import F32, Fed
from edge_runtimes.onnx.call import Entry
from edge_runtimes.onnx.decoder import ANSWER, OnnxDecoder
from edge_runtimes.onnx.exits import ExitOnnxDecoder
from edge_runtimes.onnx.flexible import FlexibleOnnxDecoder, flexible
from edge_runtimes.onnx.stored import OnnxRows

ROWS, EXACT_ROWS = "rows.onnx", "exact-rows.onnx"


class Splicing(OnnxDecoder):
    """What takes rows, and makes them of tokens: of a decoder whose graph begins after the embedding."""

    def __init__(self, opening: Opening, **how: Any) -> None:
        recipe = recipe_of(Artifact.open(opening.folder).manifest)
        self._table = OnnxRows(opening.folder, opening.spec, recipe)
        super().__init__(opening, **how)

    def embed(self, tokens: Sequence[int]) -> F32:
        found = [self._table.rows("embed", t, t + 1, by_row=True) for t in tokens]
        return np.concatenate(found) * np.float32(self.spec.embed_scale)

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self.prefill_rows(self.embed(tokens))

    def prefill_rows(self, rows: F32) -> F32:
        self.reserve(len(rows) + ANSWER)
        at = 0
        while True:
            end = min(at + self._chunk(), len(rows))
            logits = self._append(rows[at:end], last=True)
            if end == len(rows):
                return logits[-1]
            at = end
            go_on()

    def step(self, token: int) -> F32:
        return self._append(self.embed((token,)), last=True)[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        out, at = [], 0
        while at < len(tokens):
            end = min(at + self._chunk(), len(tokens))
            out.append(self._append(self.embed(tokens[at:end]), last=False).copy())
            at = end
        return out[0] if len(out) == 1 else np.concatenate(out)

    def _append(self, rows: F32, *, last: bool) -> F32:
        return self._run(self._step, np.ascontiguousarray(rows, np.float32), last=last)


class SplicedOnnxDecoder(Splicing, FlexibleOnnxDecoder):
    """`edge.protocols.SplicedEvictable`, of an artifact that was made for it; if exact, by the twin with float
    activations, which is never observed.
    """

    def __init__(self, opening: Opening) -> None:
        if opening.exact:
            step = Entry(file=opening.part + EXACT_ROWS, asked=True, embedded=True)
        else:
            step = replace(flexible(opening, ROWS), embedded=True)
        super().__init__(opening, step=step)

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        return self.observe_rows(self.embed(tokens))

    def observe_rows(self, rows: F32) -> tuple[F32, list[F32]]:
        return self._observe(np.ascontiguousarray(rows, np.float32))


class SplicedExitOnnxDecoder(Splicing, ExitOnnxDecoder):
    """As `ExitOnnxDecoder`, whose first layers take rows."""

    def _first(self, exit_: int) -> Entry:
        return replace(super()._first(exit_), file=f"rows-draft-{exit_}.onnx", embedded=True)

    def _early(self, fed: Fed, *, at: int) -> F32:
        rows = fed if isinstance(fed, np.ndarray) else self.embed(fed)
        return super()._early(np.ascontiguousarray(rows, np.float32), at=at)
