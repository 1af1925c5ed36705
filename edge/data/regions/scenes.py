"""Made scenes: things on a background, none of which covers another, and marks that no word is for.

A scene is made of its seed and number alone. Those that are held out have numbers of their own, and only things that
training never shows.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from edge.data.regions import pixels, talks
from edge.data.regions.examples import Talk
from edge.data.regions.pixels import Mask
from edge.data.regions.things import COLOURS, DIGITS, LETTERS, SIZES, TEXTURES, Look, Size, pairs
from edge.typing import F32, F64, U8, AnyArray
from edge.vision.boxes import Box
from edge.vision.palette import Colour
from edge.vision.pictures import Picture

LEAST = 56  # pixels of a scene's side: small things are legible
Behind = Literal["plain", "gradient", "stripes", "tiles", "clouds"]
_SIDES: dict[Size, tuple[float, float]] = {"small": (0.125, 0.19), "large": (0.3, 0.42)}
_TRIES = 40  # of places, before a thing is left out
_LIKE = 0.45  # chance that a thing has the kind or the colour of one before it
_WITHIN = 0.6  # that a large ring has something inside
_NARROW = 0.72  # of a letter's height
_WHITE, _BLACK = (250, 250, 250), (14, 14, 14)
_SECOND: dict[str, Colour] = {
    "striped": _WHITE,
    "spotted": _WHITE,
    "checked": _BLACK,
    "plain": _WHITE,
}
_NOISE = 5  # of 256, at most
_GREY = (80, 185)  # from which to which a background is


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """How scenes are made: pixels of a side, and how many things and marks there are at most."""

    width: int
    height: int
    most: int = 8
    marks: int = 2

    def __post_init__(self) -> None:
        if min(self.width, self.height) < LEAST or not 1 <= self.most <= 12 or self.marks < 0:
            raise ValueError(f"a scene has sides of {LEAST} at least, and 1 to 12 things")


@dataclass(frozen=True, slots=True)
class Place:
    left: int
    top: int
    width: int
    height: int

    def apart(self, other: "Place", gap: int) -> bool:
        return (
            self.left + self.width + gap <= other.left
            or other.left + other.width + gap <= self.left
            or self.top + self.height + gap <= other.top
            or other.top + other.height + gap <= self.top
        )


@dataclass(frozen=True, slots=True)
class Thing:
    """`box`: the least one that has its pixels."""

    look: Look
    place: Place
    ink: Colour
    box: Box


@dataclass(frozen=True, slots=True)
class Mark:
    """What has an outline and no name: discs together, middles and radii."""

    discs: tuple[tuple[float, float, float], ...]
    place: Place
    ink: Colour
    box: Box


@dataclass(frozen=True, slots=True)
class Ground:
    """`colours`: greys with a tint, from one to the other; `step`: pixels of a stripe or tile; `seed`: of the noise."""

    behind: Behind
    colours: tuple[Colour, Colour]
    step: int
    seed: int


@dataclass(frozen=True)
class Scene:
    page: Page
    ground: Ground
    things: tuple[Thing, ...]
    marks: tuple[Mark, ...]
    held: bool
    seed: str = field(repr=False)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Of the things, then of the marks."""
        return tuple(one.box for one in self.shown)

    @property
    def shown(self) -> "tuple[Thing | Mark, ...]":
        return (*self.things, *self.marks)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(thing.look.name for thing in self.things), *("" for _ in self.marks))

    @cached_property
    def talks(self) -> tuple[Talk, ...]:
        """All that can be said: of each topic something, where it can be."""
        looks, boxes = [one.look for one in self.things], [one.box for one in self.things]
        return talks.about(random.Random(f"talks {self.seed}"), looks, boxes, held=self.held)

    def picture(self) -> Picture:
        return Picture(rgb=painted(self))


def scene(number: int, page: Page, *, seed: int = 0, held: bool = False) -> Scene:
    """The scene of a seed that has this number."""
    told = f"{'held' if held else 'seen'} {seed} {number} {page.width} {page.height}"
    rng = random.Random(told)
    taken: list[Place] = []
    things = tuple(_things(rng, page, taken, held=held))
    marks = tuple(_marks(rng, page, taken))
    return Scene(page, _ground(rng), things, marks, held, told)


def painted(scene: Scene, *, without: int | None = None) -> U8:
    """The picture [H, W, 3]; `without` a thing or mark, what it covers is the background."""
    rgb = _background(scene.ground, scene.page.height, scene.page.width)
    for number, one in enumerate(scene.shown):
        if number != without:
            at = one.place
            there = rgb[at.top : at.top + at.height, at.left : at.left + at.width]
            shown = _mask(one)
            there[shown] = one.ink
            if isinstance(one, Thing):
                second = pixels.marked(one.look.texture, at.height, at.width)
                there[shown & second] = _SECOND[one.look.texture]
    noise = np.random.RandomState(scene.ground.seed).randint(-_NOISE, _NOISE + 1, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def _things(rng: random.Random, page: Page, taken: list[Place], *, held: bool) -> Iterator[Thing]:
    looks: list[Look] = []
    within: Place | None = None
    for _ in range(rng.randint(1, page.most)):
        look = _look(rng, looks, held=held)
        if within is not None:
            look = Look(look.kind, look.colour, look.texture, "small")
            place: Place | None = _inside(within, look)
            within = None
        else:
            place = _free(rng, page, taken, *_sides(rng, page, look))
        if place is None:
            continue
        taken.append(place)
        looks.append(look)
        thing = _thing(rng, look, place)
        if look.kind == "ring" and look.size == "large" and rng.random() < _WITHIN:
            within = place
        yield thing


def _look(rng: random.Random, before: Sequence[Look], *, held: bool) -> Look:
    """One of those that may be shown; often like one before it, so that one word does not tell them apart."""
    some = pairs(held=held)
    if before and rng.random() < _LIKE:
        other, same = rng.choice(before), rng.random() < 0.5
        some = tuple(
            (colour, kind)
            for colour, kind in some
            if (kind == other.kind if same else colour == other.colour)
        )
    else:
        letters = rng.random() < 0.4  # else there would be three of them for each shape
        some = tuple(pair for pair in some if (pair[1] in (*LETTERS, *DIGITS)) == letters)
    colour, kind = rng.choice(some)
    plain = kind in (*LETTERS, *DIGITS) or rng.random() < 0.4  # a stroke has no room for more
    texture = "plain" if plain else rng.choice(TEXTURES[1:])
    return Look(kind, colour, texture, rng.choice(SIZES))


def _sides(rng: random.Random, page: Page, look: Look) -> tuple[int, int]:
    """Width and height."""
    low, high = _SIDES[look.size]
    side = min(page.width, page.height) * rng.uniform(low, high)
    wide = side * (_NARROW if look.kind in (*LETTERS, *DIGITS) else rng.uniform(0.88, 1.14))
    return max(pixels.COLUMNS, round(wide)), max(pixels.ROWS, round(side))


def _free(
    rng: random.Random, page: Page, taken: Sequence[Place], width: int, height: int
) -> Place | None:
    """A place in the picture with a gap to all others, if one is found."""
    gap = max(2, min(page.width, page.height) // 40)
    for _ in range(_TRIES):
        left, top = rng.randint(0, page.width - width), rng.randint(0, page.height - height)
        place = Place(left, top, width, height)
        if all(place.apart(other, gap) for other in taken):
            return place
    return None


def _inside(ring: Place, look: Look) -> Place | None:
    """The middle of a ring, where there is room."""
    wide, high = (int(pixels.HOLE * side) - 2 for side in (ring.width, ring.height))
    if look.kind in (*LETTERS, *DIGITS):
        wide = min(wide, round(high * _NARROW))
    if wide < pixels.COLUMNS or high < pixels.ROWS:
        return None
    return Place(
        ring.left + (ring.width - wide) // 2, ring.top + (ring.height - high) // 2, wide, high
    )


def _thing(rng: random.Random, look: Look, place: Place) -> Thing:
    red, green, blue = (
        max(0, min(255, part + rng.randint(-12, 12))) for part in COLOURS[look.colour]
    )
    shown = pixels.mask(look.kind, place.height, place.width)
    return Thing(look, place, (red, green, blue), _box(shown, place))


def _marks(rng: random.Random, page: Page, taken: list[Place]) -> Iterator[Mark]:
    for _ in range(rng.randint(0, page.marks)):
        side = min(page.width, page.height)
        width, height = (round(side * rng.uniform(0.12, 0.3)) for _ in range(2))
        discs = tuple(
            (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.25, 0.5))
            for _ in range(4)
        )
        place = _free(rng, page, taken, width, height)
        if place is not None:
            taken.append(place)
            shown = pixels.blob(np.array(discs), height, width)
            ink = rng.choice((_WHITE, _BLACK))
            yield Mark(discs, place, ink, _box(shown, place))


def _mask(one: Thing | Mark) -> Mask:
    if isinstance(one, Thing):
        return pixels.mask(one.look.kind, one.place.height, one.place.width)
    discs: F64 = np.array(one.discs)
    return pixels.blob(discs, one.place.height, one.place.width)


def _box(shown: Mask, place: Place) -> Box:
    left, top, right, bottom = pixels.bounds(shown)
    return (
        float(place.left + left),
        float(place.top + top),
        float(place.left + right),
        float(place.top + bottom),
    )


def _ground(rng: random.Random) -> Ground:
    first, second = (_grey(rng) for _ in range(2))
    step = rng.randint(3, 14)
    return Ground(rng.choice(get_args(Behind)), (first, second), step, rng.getrandbits(32))


def _grey(rng: random.Random) -> Colour:
    level = rng.randint(*_GREY)
    red, green, blue = (level + rng.randint(-12, 12) for _ in range(3))
    return red, green, blue


def _background(ground: Ground, height: int, width: int) -> F32:
    """[H, W, 3]: each pixel between two greys."""
    y, x = np.indices((height, width)).astype(np.float32)
    share = _SHARES[ground.behind](x, y, ground.step)[..., None]
    first, second = (np.array(colour, np.float32) for colour in ground.colours)
    return np.round(first + (second - first) * share).astype(np.float32)


# Of the second grey, by where a pixel is and how wide a stripe.
_SHARES: Mapping[Behind, Callable[[F32, F32, int], AnyArray]] = {
    "plain": lambda x, y, step: np.zeros_like(x),
    "gradient": lambda x, y, step: (x / x.shape[1] + y / x.shape[0]) / 2,
    "stripes": lambda x, y, step: (x // step % 2) * 0.5,
    "tiles": lambda x, y, step: ((x // step + y // step) % 2) * 0.3,
    "clouds": lambda x, y, step: 0.5 + 0.25 * (np.sin(x / step) + np.sin(y / (step + 2))),
}
