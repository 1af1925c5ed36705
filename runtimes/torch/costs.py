"""What rows cost: a number from what a model says of them, for any exit of it, which training makes smaller.

T positions, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(Batch):
    """tokens and parts [B, 2, T + 1]: the chosen answer, then the rejected one, to the same; reference [B, 2]: their
    log-probabilities by the weights that training starts from.
    """

    reference: torch.Tensor


class Preference:
    """What a model has to learn to like the chosen answer better than the rejected one, beyond what its start does:
    their margin is m = beta ((log p - log p_start)(chosen) - (log p - log p_start)(rejected)).

    `sigmoid`: -log sigmoid(m) (DPO, arXiv 2305.18290); `hinge`: max(0, 1 - m) (arXiv 2305.10425, 2309.06657); `ipo`:
    (d - 1 / (2 beta))², where d is the same difference by the mean token of each answer (arXiv 2310.12036). An exit is
    measured against the same start. Right is an answer that was chosen and is liked better.
    """

    judged = True

    def __init__(self, loss: Literal["sigmoid", "hinge", "ipo"], beta: float) -> None:
        self._loss, self._beta = loss, beta

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
