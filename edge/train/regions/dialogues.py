"""A recipe of a whole Groma in small, which learns from conversations about made scenes: the second and the third stage
of arXiv 2404.13013, as courses. Its detector comes from the first stage, or is drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge.train.fields import SMALL, built, check, read_as
from edge.train.recipe import Rates, Shape
from edge.train.regions.detection import Proposer, Scenes, Tower


@dataclass(frozen=True, kw_only=True, slots=True)
class Regions:
    """How regions become rows: `bins` of a region's side, `inner` and `place` width of a region and of what its box
    says, `rounds` in which maps exchange channels, in `groups`; and how many are shown (`most`), by which `score`.
    """

    bins: int
    inner: int
    place: int
    rounds: int
    groups: int
    most: int = 20
    score: float = 0.15
    overlap: float = 0.6

    def __post_init__(self) -> None:
        if not (0 < self.score < 1 and 0 < self.overlap < 1 and self.most <= 100):
            raise ValueError("regions: score and overlap between 0 and 1, 100 regions at most")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """A stage: how many pictures are `seen`, `batch` of them a step, and `asked` questions about each. `rate`: times
    the recipe's; `still`: patterns of weights that stay as they are.
    """

    name: str
    seen: int
    batch: int
    asked: int = 3
    rate: float = 1.0
    still: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DialoguesRecipe:
    """All that decides a run. A batch falls into `splits` equal parts; warm-up counts pictures."""

    seed: int
    tower: Tower
    proposer: Proposer
    regions: Regions
    shape: Shape
    rates: Rates
    dialogues: tuple[Dialogue, ...]
    scenes: Scenes = field(default_factory=Scenes)
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        for one in self.dialogues:
            if one.batch % self.splits:
                raise ValueError(
                    f"{one.name}: a batch of {one.batch} has no {self.splits} equal splits"
                )
        if self.tower.side // self.tower.patch % 2:
            raise ValueError("tower: an even number of patches of a side, four of which are a row")
        if self.tower.width % self.regions.groups or self.tower.width % 4:
            raise ValueError("regions: groups, and fours, that divide the tower's width")
        if self.proposer.queries > self.tower.pixels:
            raise ValueError(f"{self.proposer.queries} queries of {self.tower.pixels} pixels")
        if self.regions.most < self.scenes.most:
            raise ValueError(
                f"{self.scenes.most} things in a scene, and {self.regions.most} regions"
            )

    @property
    def seen(self) -> int:
        """Of all courses."""
        return sum(one.seen for one in self.dialogues)

    def course(self, seen: int) -> int:
        """The number of the course that is on once so many pictures were seen."""
        for number, one in enumerate(self.dialogues):
            if seen < one.seen:
                return number
            seen -= one.seen
        return len(self.dialogues) - 1


_PARTS: Mapping[str, type] = {
    "tower": Tower,
    "proposer": Proposer,
    "regions": Regions,
    "shape": Shape,
    "scenes": Scenes,
    "rates": Rates,
}
_ANY: Mapping[str, Mapping[str, int]] = {"rates": {}}  # no shape: its numbers may be large


def read(path: Path) -> DialoguesRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> DialoguesRecipe:
    dialogues = raw.get("dialogues")
    if not isinstance(dialogues, list) or not dialogues:
        raise ValueError("dialogues is no list")
    parts: dict[str, Any] = {
        key: built(kind, raw.get(key, {}), key, **_ANY.get(key, {"most": SMALL}))
        for key, kind in _PARTS.items()
    }
    parts["dialogues"] = tuple(
        built(Dialogue, one, f"dialogues[{number}]") for number, one in enumerate(dialogues)
    )
    given = {key: value for key, value in raw.items() if key not in parts}
    check(DialoguesRecipe, given, "it")
    return DialoguesRecipe(**given, **parts)
