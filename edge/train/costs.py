"""What rows cost, as data: each runtime that trains computes it. A number from what a model says of them, for any exit
of it, which training makes smaller.
"""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["sigmoid", "hinge", "ipo"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Cross-entropy, in nats; `table`: what a token of each part counts; `judged`: answers are right or wrong."""

    table: tuple[float, ...]
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Preference:
    """What a model has to learn to like the chosen answer better than the rejected one, beyond what its start does:
    their margin is m = beta ((log p - log p_start)(chosen) - (log p - log p_start)(rejected)).

    `sigmoid`: -log sigmoid(m) (DPO, arXiv 2305.18290); `hinge`: max(0, 1 - m) (arXiv 2305.10425, 2309.06657); `ipo`:
    (d - 1 / (2 beta))², where d is the same difference by the mean token of each answer (arXiv 2310.12036). An exit is
    measured against the same start. Right is an answer that was chosen and is liked better.
    """

    loss: Loss
    beta: float

    @property
    def judged(self) -> bool:
        return True


Cost = Likelihood | Preference
