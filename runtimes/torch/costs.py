"""What rows cost: a number from what a model says of them, for any exit of it, which training makes smaller.

T positions, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F

from edge.data.rows import Part
from edge_runtimes.torch.batches import Batch


class Cost(Protocol):
    """`judged`: whether answers are right or wrong."""

    judged: bool

    def count(self, batch: Batch) -> float:
        """What a batch counts in the mean over all of a step."""
        ...

    def of(self, logits: torch.Tensor, batch: Batch, total: float) -> torch.Tensor:
        """A batch's part of that mean, where all count `total`: logits [..., T, V] -> a number."""
        ...

    def judge(self, logits: torch.Tensor, batch: Batch) -> tuple[int, int]:
        """How many answers are right, of how many."""
        ...


class Likelihood:
    """Cross-entropy, in nats; `table`: what a token of each part counts."""

    def __init__(self, table: Sequence[float], *, judged: bool = False) -> None:
        self.judged = judged
        self._tables = {"cpu": torch.tensor(table)}

    def count(self, batch: Batch) -> float:
        return float(self._weights(batch).sum())

    def of(self, logits: torch.Tensor, batch: Batch, total: float) -> torch.Tensor:
        weight = (self._weights(batch) / total).flatten()
        each = -log_probabilities(logits, batch).flatten()
        each = each.masked_fill(weight == 0, 0.0)  # infinite where it may not be predicted
        return (each * weight).sum()

    def judge(self, logits: torch.Tensor, batch: Batch) -> tuple[int, int]:
        """Answers of which every token is the likeliest."""
        if not self.judged:
            return 0, 0
        answer = (batch.parts[:, 1:] == Part.ANSWER).cpu()
        before = F.pad(answer, (1, 0))[:, :-1]
        number = (answer & ~before).flatten().cumsum(0)[answer.flatten()] - 1
        if not len(number):
            return 0, 0
        targets = batch.tokens[:, 1:]
        wrong = (logits.detach().argmax(-1) != targets).cpu().flatten()[answer.flatten()]
        counts = torch.zeros(int(number.max()) + 1).index_add_(0, number, wrong.float())
        return int((counts == 0).sum()), len(counts)

    def _weights(self, batch: Batch) -> torch.Tensor:
        """What each token that is predicted counts: [..., T]."""
        device = str(batch.parts.device)
        if device not in self._tables:
            self._tables[device] = self._tables["cpu"].to(device)
        return self._tables[device][batch.parts[:, 1:]]


def log_probabilities(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of the tokens that are there, in nats: logits [..., T, V] -> [..., T]."""
    targets = batch.tokens[..., 1:]
    each = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), reduction="none")
    return -each.view(targets.shape)
