"""A recipe of a detector: a tower, and a proposer of boxes on its rows, which learn where things are (the first stage
of arXiv 2404.13013). From made scenes, or from a user's boxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.data.regions.scenes import LEAST
from edge.nn.regions.proposer import PIXELS
from edge.train.fields import SMALL, built, check, read_as
from edge.train.recipe import Rates

MEAN = 4  # layers of the tower whose rows a proposer gets the mean of
HEADS = 2  # of scores: for things that have names, and for all that has an outline


@dataclass(frozen=True, kw_only=True, slots=True)
class Tower:
    """A DINOv2: `side` of a picture and of a patch, in pixels."""

    width: int
    layers: int
    heads: int
    ffn_width: int
    side: int
    patch: int

    def __post_init__(self) -> None:
        if self.side % self.patch or self.width % self.heads or self.ffn_width % self.width:
            raise ValueError(
                "tower: a side of whole patches, a width of whole heads, and ffn_width a multiple of it"
            )
        if self.side < LEAST or self.layers < MEAN:
            raise ValueError(f"tower: a side of {LEAST} pixels and {MEAN} layers at least")

    @property
    def pixels(self) -> int:
        """Of the map that boxes are found on."""
        return (self.side // self.patch) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposer:
    """A deformable DETR: `points` that each head looks at; `encoder` and `decoder`: layers."""

    width: int
    heads: int
    points: int
    encoder: int
    decoder: int
    ffn_width: int
    queries: int

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4 or self.decoder < 2:
            raise ValueError(
                "proposer: a width of whole heads and fours, and two layers of a decoder"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What counts, in the losses and when boxes are matched: whether something is there, how far its sides are, and how
    little it overlaps; `alpha`: what counts is of what is there, in parts of both.
    """

    score: float = 2.0
    sides: float = 5.0
    overlap: float = 2.0
    alpha: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not self.score + self.sides + self.overlap > 0:
            raise ValueError("costs: alpha between 0 and 1, and something that counts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenes:
    """Made ones: `most` things and `marks` of no name; drawn up to `larger` times as large as the tower sees them."""

    most: int = 8
    marks: int = 2
    larger: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.larger <= 8 or self.most > 12:
            raise ValueError("scenes from 1 to 8 times as large, of 12 things at most")


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection(Scenes):
    """`batch` pictures at a time, `seen` in all."""

    batch: int
    seen: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionRecipe:
    """All that decides a run. A batch falls into `splits` equal parts; `still`: patterns of weights that stay as they
    are, such as `vision/*`; warm-up counts pictures.
    """

    seed: int
    tower: Tower
    proposer: Proposer
    detection: Detection
    rates: Rates
    costs: Costs = Costs()
    still: tuple[str, ...] = ()
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        if self.detection.batch % self.splits:
            raise ValueError(f"a batch of {self.detection.batch} has no {self.splits} equal splits")
        if not self.proposer.queries <= self.tower.pixels <= PIXELS:
            raise ValueError(
                f"{self.proposer.queries} queries of a map of {self.tower.pixels} pixels"
            )
        if self.proposer.queries < self.detection.most + self.detection.marks:
            raise ValueError(f"{self.proposer.queries} queries, and more things in a scene")


_PARTS: Mapping[str, type] = {
    "tower": Tower,
    "proposer": Proposer,
    "detection": Detection,
    "costs": Costs,
    "rates": Rates,
}
_SHAPES = (Tower, Proposer)


def read(path: Path) -> DetectionRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> DetectionRecipe:
    parts: dict[str, Any] = {
        key: built(kind, raw.get(key, {}), key, **({"most": SMALL} if kind in _SHAPES else {}))
        for key, kind in _PARTS.items()
    }
    if parts["detection"].batch > SMALL:
        raise ValueError(f"detection: batch is {parts['detection'].batch}, above {SMALL}")
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in raw.items()
        if key not in parts
    }
    check(DetectionRecipe, {key: raw[key] for key in given}, "it")
    return DetectionRecipe(**given, **parts)
