"""What rows cost: a number from what a model says of them, for any exit of it, which training makes smaller.

T positions, V vocabulary.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F

from edge.data.rows import Part
from edge.train import costs
from edge_runtimes.torch.batches import Batch, Compared


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


def cost_of(found: costs.Cost) -> Cost:
    """As torch computes it."""
    return Likelihood(found) if isinstance(found, costs.Likelihood) else Preference(found)


class Likelihood:
    """`edge.train.costs.Likelihood`."""

    def __init__(self, of: costs.Likelihood) -> None:
        self.judged = of.judged
        self._tables = {"cpu": torch.tensor(of.table)}

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


class Preference:
    """`edge.train.costs.Preference`."""

    judged = True

    def __init__(self, of: costs.Preference) -> None:
        self._loss, self._beta = of.loss, of.beta

    def count(self, batch: Batch) -> float:
        return len(batch.tokens)

    def of(self, logits: torch.Tensor, batch: Batch, total: float) -> torch.Tensor:
        gained = self._gained(logits, batch)
        if self._loss == "ipo":
            gained = gained / batch.parts[..., 1:].sum(-1)
        far = gained[:, 0] - gained[:, 1]
        return _FORMS[self._loss](far, self._beta).sum() / total

    def judge(self, logits: torch.Tensor, batch: Batch) -> tuple[int, int]:
        gained = self._gained(logits.detach(), batch)
        return int((gained[:, 0] > gained[:, 1]).sum()), len(gained)

    def _gained(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        assert isinstance(batch, Compared)
        return answers(logits, batch) - batch.reference


_FORMS: Mapping[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "sigmoid": lambda far, beta: -F.logsigmoid(beta * far),
    "hinge": lambda far, beta: F.relu(1 - beta * far),
    "ipo": lambda far, beta: (far - 1 / (2 * beta)).square(),
}


def answers(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The log-probability of what counts of each row: [..., T, V] -> [...]."""
    each = log_probabilities(logits, batch)
    return each.masked_fill(batch.parts[..., 1:] == 0, 0.0).sum(-1)


def log_probabilities(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of the tokens that are there, in nats: logits [..., T, V] -> [..., T]."""
    targets = batch.tokens[..., 1:]
    each = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), reduction="none")
    return -each.view(targets.shape)
