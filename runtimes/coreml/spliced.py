"""A decoder over packages that takes rows for tokens: `edge.protocols.Spliced`. T tokens, D model width."""

from collections.abc import Sequence

import numpy as np

from edge.contracts import Rows
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.coreml.decoder import Caller, CoreMlDecoder


class SplicedCoreMlDecoder(CoreMlDecoder):
    """As `CoreMlDecoder`, of an artifact that was made for it; `table`: where rows of tokens are read."""

    def __init__(
        self, spec: DecoderSpec, callers: Sequence[Caller], table: Rows, label: str = ""
    ) -> None:
        super().__init__(spec, callers, label)
        self._table = table
        if not self._lengths("rows") and len(callers) == 1:
            self._need("rows1")

    def embed(self, tokens: Sequence[int]) -> F32:
        found = [self._table.rows("embed", t, t + 1, by_row=True) for t in tokens]
        return np.concatenate(found) * np.float32(self.spec.embed_scale)

    def prefill_rows(self, rows: F32) -> F32:
        logits: F32 = self._read("rows", rows, single="rows1")[-1]["logits"][-1]
        return logits

    def _lengths(self, kind: str) -> list[int]:
        """The first package alone has functions that rows go into."""
        if kind != "rows":
            return super()._lengths(kind)
        every, self._callers = self._callers, self._callers[:1]
        try:
            return super()._lengths(kind)
        finally:
            self._callers = every
