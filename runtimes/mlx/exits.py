"""Early exits on MLX: `edge.decode.exits.Halves` over one cache, whose first layers run ahead.

T tokens, D model width.
"""

from collections.abc import Sequence

import mlx.core as mx

from edge.contracts import Opening
from edge.decode.layerskip import draft_spec
from edge.nn.decoder import head_name, segment
from edge.typing import F32
from edge_runtimes.mlx.cache import Exactly
from edge_runtimes.mlx.decoder import MlxDecoder
from edge_runtimes.mlx.ops import MlxOps


class ExitMlxDecoder(MlxDecoder):
    """Its halves meet after `exit_` layers, in streams of [1, D]."""

    def __init__(self, opening: Opening, *, exit_: int) -> None:
        super().__init__(opening)
        self._exit, self._of = exit_, draft_spec(self.spec)
        self._heads = self._weights.first(head_name(self.spec), self._of.vocab)

    def draft(self, token: int, *, ahead: int) -> tuple[mx.array, F32]:
        stream, end = self.early(token, ahead=ahead), len(self.spec.layers)
        ops = MlxOps(self._heads, Exactly(self._cache, 1), last_only=True)
        logits = segment(ops, self._of, stream, start=end, stop=end, ends=True)
        return stream, self._evaluate(logits, 0, stream)[-1]

    def early(self, token: int, *, ahead: int) -> mx.array:
        """Nothing of it is computed yet."""
        with self._cache.ahead(ahead):
            self._room(1)
            ops, ids = MlxOps(self._weights, Exactly(self._cache, 1), False), self._ids((token,))
            return segment(ops, self.spec, ids, start=0, stop=self._exit, ends=False)

    def late(self, left: Sequence[mx.array]) -> F32:
        streams, end = mx.concatenate(list(left)), len(self.spec.layers)  # [T, D]
        ops = MlxOps(self._weights, Exactly(self._cache, len(left)), last_only=False)
        logits = segment(ops, self.spec, streams, start=self._exit, stop=end, ends=True)
        return self._evaluate(logits, len(left))
