"""Training early exits (LayerSkip, arXiv 2404.16710): layer dropout and early-exit loss.

Both stand outside the model definition, which is called layer by layer.

B sequences, T positions, L layers, V vocabulary.
"""

import math
from collections.abc import Callable

import torch

from edge.nn.decoder import embed, head, layers
from edge.spec import DecoderSpec
from runtimes.torch.ops import TorchOps

Pair = tuple[
    torch.Tensor, torch.Tensor | None
]  # the residual stream: x and what is still to be added
Loss = Callable[[torch.Tensor], torch.Tensor]  # logits [B, T, V] -> a number


def dropout(layer: int, count: int, progress: float, most: float) -> float:
    """p of one layer: 0 at the first and at the start, `most` at the last and at the end."""
    depth = math.exp(layer * math.log(2) / (count - 1)) - 1
    time = math.exp(progress * math.log(2)) - 1
    return time * depth * most


def exit_weights(count: int, scale: float, *, step: int, every: int) -> dict[int, float]:
    """Normalized loss weights of the exits that `step` trains: every R-th in rotation, and the last."""
    last = count - 1
    raw = {
        layer: scale * layer * (layer + 1) / 2
        for layer in range(last)
        if (layer + step) % every == 0
    }
    raw[last] = last + scale * last * (last - 1) / 2
    total = sum(raw.values())
    return {layer: weight / total for layer, weight in raw.items() if weight}


def keep(
    count: int, batch: int, progress: float, most: float, rng: torch.Generator
) -> torch.Tensor:
    """Which sequences pass through which layer: [L, B], True where they do."""
    p = torch.tensor([dropout(layer, count, progress, most) for layer in range(count)])
    return torch.rand(count, batch, generator=rng) >= p[:, None]


def loss(
    ops: TorchOps,
    spec: DecoderSpec,
    tokens: torch.Tensor,
    *,
    kept: torch.Tensor,
    exits: dict[int, float],
    measure: Loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens [B, T], kept [L, B] -> the weighted loss of all exits, and the last logits [B, T, V]."""
    rope = ops.rope(spec.rope, spec.context)
    x: torch.Tensor = embed(ops, spec, tokens)
    d: torch.Tensor | None = None
    total, logits = x.new_zeros(()), x
    for index in range(len(spec.layers)):
        before = x, d
        x, d = layers(ops, spec, x, d, rope, start=index, stop=index + 1)
        if not bool(kept[index].all()):
            x, d = _skip(kept[index].to(x.device), before, (x, d))
        if index in exits:
            logits = head(ops, spec, x, d)
            total = total + exits[index] * measure(logits)
    return total, logits


def _skip(kept: torch.Tensor, before: Pair, after: Pair) -> Pair:
    """Sequences that are not kept [B] leave a layer as they came."""
    mask = kept[:, None, None]
    stream = before[0] if before[1] is None else before[0] + before[1]
    added = torch.zeros_like(stream) if after[1] is None else after[1]
    return torch.where(mask, after[0], stream), added * mask
