"""Early exits on torch: `edge.protocols.EarlyExit` over one cache, whose first layers run ahead.

T tokens, D model width.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from edge.decode.layerskip import draft_spec, widened
from edge.nn.decoder import head_name, segment
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.torch.decoder import TorchDecoder, array
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.weights import first


class ExitTorchDecoder(TorchDecoder):
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
        self._streams: list[torch.Tensor] = []  # after the exit, of drafted tokens: [1, 1, D] each
        super().__init__(folder, spec, threads=threads, part=part)
        name = head_name(spec)
        head = {name: first(self._weights[name], self._of.vocab)}
        self._head = TorchOps({**self._weights, **head}, dtype=self._dtype)

    @property
    def length(self) -> int:
        return self._cache.length - len(self._streams)

    @torch.inference_mode()
    def draft(self, token: int) -> F32:
        stream, end = self._early(token), len(self.spec.layers)
        logits = segment(self._head, self._of, stream, start=end, stop=end, ends=True)
        return widened(array(logits[0, 0, : self._of.vocab]), self.spec.vocab)

    @torch.inference_mode()
    def finish(self, token: int) -> F32:
        self._early(token)
        streams = torch.cat(self._streams, dim=1)  # [1, T, D]
        self._forget()
        end = len(self.spec.layers)
        logits = segment(self._all, self.spec, streams, start=self._exit, stop=end, ends=True)
        self._cache.length += streams.shape[1]
        return array(logits[0])

    def rewind(self, length: int) -> None:
        self._forget()
        super().rewind(length)

    def _early(self, token: int) -> torch.Tensor:
        """A token through the layers before the exit; its stream is kept."""
        ids = self._ids((token,))
        stream = segment(self._all, self.spec, ids, start=0, stop=self._exit, ends=False)
        self._cache.length += 1
        self._streams.append(stream)
        return stream

    def _forget(self) -> None:
        """What was drafted counts no longer."""
        self._cache.length, self._streams = self.length, []

    def _run(self, ops: TorchOps, tokens: Sequence[int]) -> F32:
        self._forget()
        return super()._run(ops, tokens)
