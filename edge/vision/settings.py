"""How a network is shown pictures, and what its scores mean: what an artifact keeps of it."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from edge.errors import Damaged
from edge.files.config import Config
from edge.vision.preparation import Preparation, stored

# Of one class among all, or of each class whether it is there.
Scores = Literal["softmax", "sigmoid"]
LABELS = "labels.txt"  # of an artifact: a line a row of its head


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionSettings:
    """`cut`: of a head that was cut to classes, the rows of the whole one that each class is the mean of."""

    preparation: Preparation = field(default_factory=Preparation)
    scores: Scores = "softmax"
    cut: tuple[tuple[int, ...], ...] = ()


def read_settings(config: Config) -> VisionSettings:
    """What `dataclasses.asdict` wrote of them: each of its numbers is checked."""
    table, scores = config.table("preparation"), config.text("scores")
    cut = config.data.get("cut", [])
    if table is None or scores not in get_args(Scores) or not _rows(cut):
        raise Damaged(
            f"{config.where} does not say how pictures are shown",
            fix="convert again with this edge",
        )
    return VisionSettings(
        preparation=stored(table),
        scores="sigmoid" if scores == "sigmoid" else "softmax",
        cut=tuple(map(tuple, cut)),
    )


def _rows(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(part, list) and part and all(type(row) is int and row >= 0 for row in part)
        for part in value
    )
