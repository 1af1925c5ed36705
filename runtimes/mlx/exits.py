"""Early exits on MLX: `edge.protocols.EarlyExit` over one cache, whose first layers run ahead.

T tokens, D model width.
"""

from pathlib import Path

import mlx.core as mx

from edge.decode.layerskip import draft_spec, widened
from edge.nn.decoder import head_name, segment
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.mlx.cache import Exactly
from edge_runtimes.mlx.decoder import MlxDecoder
from edge_runtimes.mlx.ops import MlxOps


class ExitMlxDecoder(MlxDecoder):
    """Stops after `exit_` layers to draft. Its cache counts drafted tokens; `length` does not."""

    def __init__(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        exit_: int,
        threads: int | None = None,
        part: str = "",
    ) -> None:
        self._exit, self._of = exit_, draft_spec(spec)
        self._streams: list[mx.array] = []  # after the exit, of drafted tokens: [1, D] each
        super().__init__(folder, spec, threads=threads, part=part)
        self._heads = self._weights.first(head_name(spec), self._of.vocab)

    @property
    def length(self) -> int:
        return self._cache.length - len(self._streams)

    def draft(self, token: int) -> F32:
        stream, end = self._early(token), len(self.spec.layers)
        ops = MlxOps(self._heads, Exactly(self._cache, 1), last_only=True)
        logits = segment(ops, self._of, stream, start=end, stop=end, ends=True)
        row = self._evaluate(logits, 1, stream)[-1]
        self._streams.append(stream)
        return widened(row, self.spec.vocab)

    def finish(self, token: int) -> F32:
        streams = mx.concatenate([*self._streams, self._early(token)])  # [T, D]
        self._forget()
        ops = MlxOps(self._weights, Exactly(self._cache, len(streams)), last_only=False)
        end = len(self.spec.layers)
        logits = segment(ops, self.spec, streams, start=self._exit, stop=end, ends=True)
        return self._evaluate(logits, len(streams))

    def rewind(self, length: int) -> None:
        self._forget()
        super().rewind(length)

    def _early(self, token: int) -> mx.array:
        """A token through the layers before the exit, nothing of it computed yet."""
        super()._room(1)
        ops = MlxOps(self._weights, Exactly(self._cache, 1), last_only=False)
        return segment(ops, self.spec, self._ids((token,)), start=0, stop=self._exit, ends=False)

    def _forget(self) -> None:
        """What was drafted counts no longer."""
        self._cache.length, self._streams = self.length, []

    def _room(self, count: int) -> None:
        self._forget()
        super()._room(count)
