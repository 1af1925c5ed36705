"""What an output of a network costs beside what it should have been, by the name that a recipe has for it.

B examples, C classes: a loss of an output [B, ...] and its targets is [B], of each example the mean over all that it
has.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from edge.train.network import Loss

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NOTHING = -1  # a class that costs nothing


def cross_entropy(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """out [B, ..., C] and the numbers of classes [B, ...]; of an example all of which costs nothing, zero."""
    flat, classes = out.flatten(0, -2).float(), target.long().flatten()
    each = F.cross_entropy(flat, classes, reduction="none", ignore_index=NOTHING)
    counted = (classes != NOTHING).view(len(out), -1)
    return each.view(len(out), -1).sum(1) / counted.sum(1).clamp(min=1)


def binary_cross_entropy(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each number by itself, whose target is a share from 0 to 1."""
    each = F.binary_cross_entropy_with_logits(out.float(), target.float(), reduction="none")
    return each.flatten(1).mean(1)


def squared(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (out.float() - target.float()).square().flatten(1).mean(1)


def absolute(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (out.float() - target.float()).abs().flatten(1).mean(1)


LOSSES: Mapping[Loss, Measure] = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared": squared,
    "absolute": absolute,
}


def right(out: torch.Tensor, target: torch.Tensor, loss: Loss) -> tuple[int, int]:
    """How many examples are answered rightly, of how many: the likeliest class, or each label as it is."""
    if loss == "cross-entropy":
        counted = target.long() != NOTHING
        hits = (out.argmax(-1) == target.long()) & counted
        return int(hits.sum()), int(counted.sum())
    if loss == "binary-cross-entropy":
        same = ((out > 0) == (target > 0.5)).flatten(1).all(1)
        return int(same.sum()), len(same)
    return 0, 0
