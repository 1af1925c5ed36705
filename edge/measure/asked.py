"""Which benchmarks are asked, and how."""

from dataclasses import dataclass
from pathlib import Path

SEED = 1234  # of the choice of examples, and of answers that are drawn: lm-evaluation-harness's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """`tasks`: names of tasks, groups or tags; `data`: the folder of their data; `shots`: examples before each
    question, the task's own number if None; `limit`: questions of each task; `chat`: questions are turns in the
    model's chat template.
    """

    tasks: tuple[str, ...]
    data: Path
    shots: int | None = None
    limit: int | None = None
    chat: bool = False
    seed: int = SEED
