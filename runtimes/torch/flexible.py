"""A decoder of many uses on torch: `edge.protocols.Evictable`. T tokens, H query heads, S rows."""

from collections.abc import Sequence
from copy import copy

import torch

from edge.decode.snapkv import refuse_cut
from edge.system.memory import give_back
from edge.typing import F32, I64, Fed
from edge_runtimes.torch.cache import StaticCache
from edge_runtimes.torch.decoder import TorchDecoder, array


class FlexibleTorchDecoder(TorchDecoder):
    """As `TorchDecoder`, which verifies drafts as it is; a model whose rows cannot be cut still has that."""

    @property
    def rows(self) -> tuple[int, ...]:
        return self._cache.rows

    def observe(self, tokens: Fed) -> tuple[F32, list[F32]]:
        refuse_cut(self.spec)
        votes: dict[int, torch.Tensor] = {}
        logits = self._run(self._ops(last_only=True, votes=votes), tokens)[-1]
        return logits, [array(votes[index]) for index in range(len(self.spec.layers))]

    observe_rows = observe

    def keep(self, rows: Sequence[I64]) -> None:
        self._use(self._kept(rows))
        give_back()

    def fork(self, rows: Sequence[I64]) -> "FlexibleTorchDecoder":
        """Over the same weights."""
        other = copy(self)
        other._use(self._kept(rows))
        return other

    @torch.inference_mode()
    def _kept(self, rows: Sequence[I64]) -> StaticCache:
        refuse_cut(self.spec)
        return self._cache.kept(rows)
