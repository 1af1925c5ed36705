"""Training early exits (LayerSkip, arXiv 2404.16710): layer dropout and early-exit loss.

Both stand outside the model definition, which is called layer by layer.

B sequences, T positions, L layers, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from edge.nn.decoder import block, embed, head
from edge.spec import DecoderSpec
from edge_runtimes.torch.held import Given, Made, Through, directly
from edge_runtimes.torch.ops import Tables, TorchOps

Pair = tuple[
    torch.Tensor, torch.Tensor | None
]  # the residual stream: x and what is still to be added
Loss = Callable[
    [torch.Tensor], torch.Tensor
]  # logits [B, T, V] -> a number, or one each of something


def keep(chances: Sequence[float], batch: int, rng: torch.Generator) -> torch.Tensor:
    """Which sequences pass through which layer: [L, B], True where they do; `chances` of being dropped."""
    p = torch.tensor(chances)
    return torch.rand(len(chances), batch, generator=rng) >= p[:, None]


def loss(
    ops: TorchOps,
    spec: DecoderSpec,
    tokens: torch.Tensor,
    *,
    kept: torch.Tensor,
    exits: dict[int, float],
    measure: Loss,
    recompute: bool = False,
    through: Through = directly,
) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens [B, T], kept [L, B] -> the weighted loss of all exits, and the last logits [B, T, V].

    `recompute`: what a layer or a head leaves for the backward pass is computed again there. `through`: what a layer
    is called by, and knows when its weights are needed.
    """
    rope = ops.rope(spec.rope, spec.context)
    pair: Pair = embed(ops, spec, tokens), None
    total, logits = pair[0].new_zeros(()), pair[0]
    for index in range(len(spec.layers)):
        layer = Layer(index=index, rope=rope, recompute=recompute, through=through)
        pair = layer.take(ops, spec, pair, kept[index])
        if index in exits:
            value, logits = _call(recompute, _exit, ops, spec, *pair, measure)
            total = total + exits[index] * value
    return total, logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer of a pass."""

    index: int
    rope: Tables
    recompute: bool
    through: Through

    def take(self, ops: TorchOps, spec: DecoderSpec, pair: Pair, kept: torch.Tensor) -> Pair:
        """Sequences that are not kept [B] leave a layer as they came; it computes only the others."""
        x, d = pair
        if bool(kept.all()):
            return self._block(ops, spec, x, d)
        rows = kept.nonzero().flatten()
        if not len(rows):
            return pair
        rows = rows.to(x.device, non_blocking=True)
        after, added = self._block(ops, spec, x[rows], None if d is None else d[rows])
        before = added.new_zeros(x.shape) if d is None else d
        return x.index_copy(0, rows, after), before.index_copy(0, rows, added)

    def _block(
        self, ops: TorchOps, spec: DecoderSpec, x: torch.Tensor, d: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        given = self.recompute, block, ops, spec, self.index, x, d, self.rope
        return self.through(self.index, _call, *given)


def _exit(
    ops: TorchOps, spec: DecoderSpec, x: torch.Tensor, d: torch.Tensor | None, measure: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an exit costs, and its logits."""
    logits = head(ops, spec, x, d)
    return measure(logits), logits.detach()


def _call(recompute: bool, function: Callable[[*Given], Made], *given: *Given) -> Made:
    if not recompute:
        return function(*given)
    # Nothing in a layer is random.
    made: Made = checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)
    return made
