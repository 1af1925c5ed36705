"""Early exits on torch: `edge.decode.exits.Halves` over one cache, whose first layers run ahead.

T tokens, D model width.
"""

from collections.abc import Sequence

import torch

from edge.contracts import Opening
from edge.decode.layerskip import draft_spec
from edge.nn.decoder import head_name, segment
from edge.typing import F32
from edge_runtimes.torch.decoder import TorchDecoder, array
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.weights import first


class ExitTorchDecoder(TorchDecoder):
    """Its halves meet after `exit_` layers, in streams of [1, 1, D]."""

    def __init__(self, opening: Opening, *, exit_: int) -> None:
        super().__init__(opening)
        self._exit, self._of = exit_, draft_spec(self.spec)
        name = head_name(self.spec)
        head = {name: first(self._weights[name], self._of.vocab)}
        self._head = TorchOps({**self._weights, **head}, dtype=self._dtype)

    @torch.inference_mode()
    def draft(self, token: int, *, ahead: int) -> tuple[torch.Tensor, F32]:
        stream, end = self.early(token, ahead=ahead), len(self.spec.layers)
        logits = segment(self._head, self._of, stream, start=end, stop=end, ends=True)
        return stream, array(logits[0, 0, : self._of.vocab])

    @torch.inference_mode()
    def early(self, token: int, *, ahead: int) -> torch.Tensor:
        with self._cache.ahead(ahead):
            ids = self._ids((token,))
            return segment(self._all, self.spec, ids, start=0, stop=self._exit, ends=False)

    @torch.inference_mode()
    def late(self, left: Sequence[torch.Tensor]) -> F32:
        streams, end = torch.cat(list(left), dim=1), len(self.spec.layers)  # [1, T, D]
        logits = segment(self._all, self.spec, streams, start=self._exit, stop=end, ends=True)
        self._cache.length += len(left)
        return array(logits[0])
