"""A batch, or a split of one; what a step does with it, and how its predictions are judged.

B sequences, T positions, L layers, V vocabulary.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from edge.data.rows import Part, Stage, Writer


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """tokens and parts [B, T + 1]."""

    tokens: torch.Tensor
    parts: torch.Tensor

    def split(self, count: int) -> list["Batch"]:
        both = zip(self.tokens.tensor_split(count), self.parts.tensor_split(count), strict=True)
        return [Batch(tokens=tokens, parts=parts) for tokens, parts in both]


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipsAndExits:
    """What a step skips and where it exits: kept [L, B]."""

    kept: torch.Tensor
    exits: dict[int, float]

    def split(self, count: int) -> list["SkipsAndExits"]:
        parts = self.kept.tensor_split(count, dim=1)
        return [SkipsAndExits(kept=kept, exits=self.exits) for kept in parts]


def make_batch(writer: Writer, rng: random.Random, stage: Stage) -> Batch:
    rows = [writer.row(rng, stage) for _ in range(stage.batch)]
    return Batch(
        tokens=torch.tensor([row.ids for row in rows]),
        parts=torch.tensor([row.parts for row in rows]),
    )


def weighted(logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy: logits [B, T, V], targets and weight [B, T] -> a number."""
    each = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    each = each.masked_fill(weight.flatten() == 0, 0.0)  # infinite where it may not be predicted
    return (each * weight.flatten()).sum()


def judge(logits: torch.Tensor, targets: torch.Tensor, parts: torch.Tensor) -> tuple[int, int]:
    """Answers of which every token is the likeliest, and all answers: targets and parts [B, T]."""
    answer = (parts == Part.ANSWER).cpu()
    before = F.pad(answer, (1, 0))[:, :-1]
    number = (answer & ~before).flatten().cumsum(0)[answer.flatten()] - 1
    if not len(number):
        return 0, 0
    wrong = (logits.detach().argmax(-1) != targets).cpu().flatten()[answer.flatten()]
    counts = torch.zeros(int(number.max()) + 1).index_add_(0, number, wrong.float())
    return int((counts == 0).sum()), len(counts)
