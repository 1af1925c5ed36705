"""A decoder of many uses on MLX: `edge.protocols.Evictable`. T tokens, H query heads, S rows."""

from collections.abc import Sequence
from copy import copy

import mlx.core as mx
import numpy as np

from edge.decode.snapkv import refuse_cut
from edge.typing import F32, I64, Fed
from edge_runtimes.mlx.cache import Cache
from edge_runtimes.mlx.decoder import MlxDecoder


class FlexibleMlxDecoder(MlxDecoder):
    """As `MlxDecoder`, which verifies drafts as it is; a model whose rows cannot be cut still has that."""

    @property
    def rows(self) -> tuple[int, ...]:
        return self._cache.rows

    def observe(self, tokens: Fed) -> tuple[F32, list[F32]]:
        refuse_cut(self.spec)
        votes: dict[int, mx.array] = {}
        graph = self._graph(tokens, last_only=True, votes=votes)
        logits = self._evaluate(graph, len(tokens), *votes.values())[-1]
        return logits, [np.array(votes[index]) for index in range(len(self.spec.layers))]

    observe_rows = observe

    def keep(self, rows: Sequence[I64]) -> None:
        self._cache = self._kept(rows)
        mx.clear_cache()  # or MLX keeps the memory of forgotten rows for later arrays

    def fork(self, rows: Sequence[I64]) -> "FlexibleMlxDecoder":
        """Over the same weights."""
        other = copy(self)
        other._cache = self._kept(rows)
        return other

    def _kept(self, rows: Sequence[I64]) -> Cache:
        refuse_cut(self.spec)
        return self._cache.kept(rows)
