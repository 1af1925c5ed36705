"""A recipe of a small InternVL that learns from generated sheets: the tower from letters and where they stand, then
all networks from questions and answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edge.data.sheets import KINDS
from edge.data.writing import Language
from edge.train.fields import built, check, read_as
from edge.train.recipe import Rates, Shape
from edge.vision.tiles import Grid

NETWORKS = ("vision", "projector", "text")
_SMALL = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Tower:
    """An InternViT: `side` of a tile and of a patch, in pixels; `most` tiles of a picture."""

    width: int
    layers: int
    heads: int
    ffn_width: int
    side: int
    patch: int
    most: int

    def __post_init__(self) -> None:
        if self.side % (2 * self.patch) or self.width % self.heads:
            raise ValueError("tower: a side of whole pairs of patches, and a width of whole heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """A stage: how many `tiles` it sees, `batch` of them a step, and what is drawn, with its shares.

    `letters`: what naming the letters of each patch counts in the loss; `rows`: that a tile becomes the rows that its
    letters would; `answers`: what answers do. `told`: rows are made of letters, and no tower is asked;
    `frozen`: the tower stays as it is. `asked`:
    questions a picture, at most; a text is `lines` of at most so many letters (`longest`). `english` and `chinese`:
    sizes of letters in a tile, in pixels. `rate`: times the recipe's rates; over the last share of the course that
    `falls` says, down to nothing.
    """

    name: str
    tiles: int
    batch: int
    kinds: Mapping[str, float]
    languages: Mapping[str, float]
    grids: Mapping[str, float]
    english: tuple[int, ...]
    chinese: tuple[int, ...]
    letters: float = 0.0
    rows: float = 0.0
    answers: float = 0.0
    told: bool = False
    frozen: bool = False
    asked: int = 1
    lines: int = 2
    longest: int = 40
    rate: float = 1.0
    falls: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.falls <= 1:
            raise ValueError(f"{self.name}: falls is a share of the course, from 0 to 1")
        for names, known in ((self.kinds, KINDS), (self.languages, get_args(Language))):
            unknown = sorted(names.keys() - set(known))
            if unknown:
                raise ValueError(f"{self.name}: {unknown[0]!r} is none of {', '.join(known)}")
        self.places()
        for sizes in (self.english, self.chinese):
            if len(sizes) != 2 or not 8 <= sizes[0] <= sizes[1] < _SMALL:
                raise ValueError(f"{self.name}: sizes of letters are two numbers from 8, rising")
        if self.letters and self.frozen:
            raise ValueError(f"{self.name}: a frozen tower learns no letters")
        if not self.letters and not self.answers:
            raise ValueError(f"{self.name}: neither letters nor answers count")

    def places(self) -> dict[Grid, float]:
        """Its grids, with their shares."""
        found = {}
        for name, share in self.grids.items():
            columns, _, rows = name.partition("x")
            if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
                raise ValueError(f"{self.name}: {name!r} is no grid such as 2x1")
            found[Grid(int(columns), int(rows))] = share
        return found

    def sizes(self) -> dict[Language, tuple[int, int]]:
        return {
            "en": (self.english[0], self.english[1]),
            "zh": (self.chinese[0], self.chinese[1]),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LessonsRecipe:
    """All that decides a run. A batch falls into `splits` equal parts, each of one kind, language and grid."""

    seed: int
    tower: Tower
    shape: Shape
    rates: Rates
    courses: tuple[Course, ...]
    splits: int = 2
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        for course in self.courses:
            if course.batch % self.splits:
                raise ValueError(
                    f"{course.name}: a batch of {course.batch} has no {self.splits} equal splits"
                )
            most = max(grid.columns * grid.rows for grid in course.places())
            if most > self.tower.most:
                raise ValueError(
                    f"{course.name}: a grid of {most} tiles, and a picture has {self.tower.most}"
                )

    @property
    def tiles(self) -> int:
        """Of all courses."""
        return sum(course.tiles for course in self.courses)

    def course(self, tiles: int) -> int:
        """The number of the course that is on once so many tiles were seen."""
        return self._at(tiles)[0]

    def rate(self, tiles: int) -> float:
        """What the recipe's rates are taken times by then."""
        number, seen = self._at(tiles)
        course = self.courses[number]
        left = course.tiles - seen
        return course.rate * min(1.0, left / max(1.0, course.falls * course.tiles))

    def _at(self, tiles: int) -> tuple[int, int]:
        """A course, and how many of its tiles were seen."""
        for number, course in enumerate(self.courses):
            if tiles < course.tiles:
                return number, tiles
            tiles -= course.tiles
        return len(self.courses) - 1, self.courses[-1].tiles


def read(path: Path) -> LessonsRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> LessonsRecipe:
    courses = raw.get("courses")
    if not isinstance(courses, list) or not courses:
        raise ValueError("courses is no list")
    parts: dict[str, Any] = {
        "tower": built(Tower, raw.get("tower"), "tower", most=_SMALL),
        "shape": built(Shape, raw.get("shape"), "shape", most=_SMALL),
        "rates": built(Rates, raw.get("rates"), "rates"),
        "courses": tuple(built(Course, one, f"courses[{i}]") for i, one in enumerate(courses)),
    }
    given = {key: value for key, value in raw.items() if key not in parts}
    check(LessonsRecipe, given, "it")
    return LessonsRecipe(**given, **parts)
