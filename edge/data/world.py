"""The small world of the stories: who may be in it, what they may own, where they may live.

Names and places are two pieces, so that a held-out name has known pieces and can only be answered by copying it.
"""

import random
from dataclasses import dataclass
from functools import cache

HELD_OUT = 0.15  # share of names and of places that training never sees


def pool(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAME_HEADS = pool("""
Mar Tom Kel Bri Dor Fen Gil Han Jas Kir Lor Mel Nob Pip Quin Ros Sam Tif Ul Van Wil Yar Zel
Ad Bel Cor Dan Ef Flo Gar Hob Ing Jun Kas Lib Mon Ned Os Pol Rud Sel Tas Ur Vil Wen Xan Yol
Zan Al Ben Cal Del Em Fin Gus Hal Iv Jor Kan Lin Mat Nel Ol Pen
""")
NAME_TAILS = pool("""
la tin ra vo mi na lo ric by das ka mo ne fi gan ho ja ki lu mus nik po qua ri sa tu va we
xi ya zo bo ce du fa go hu jo ke lyn
""")
PLACE_HEADS = pool("""
Oak Elm Hill River Stone Green Wind Sun Moon Star Snow Rain Leaf Rose Berry Apple Plum Fox
Wolf Bear Crow Swan Duck Gold Iron Salt Sand Clay Moss Fern Reed Thorn Ash Birch Pine Cedar
Lake Pond Brook Spring Summer Winter North South East West High Low
""")
PLACE_TAILS = pool("""
ford dale ton wood field haven gate mill moor port wick ley stead bury croft cliff well
shore bridge side
""")
COLOURS = pool("""
red blue green yellow pink brown black white purple grey golden silver
""")
THINGS = pool("""
kite drum hat ball boat box cup bell book coat lamp ring doll spoon basket key map flute
scarf mirror button shell stone feather bucket wagon ribbon cushion candle whistle blanket
jar bottle clock cape crown rope sled pie toy
""")
KINDS = pool("""
girl boy fox cat dog bear rabbit mouse farmer baker king queen bird goat frog hen
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One who owns one thing and lives in one place."""

    name: str
    kind: str
    colour: str
    thing: str
    place: str


@cache
def names(held_out: bool) -> tuple[str, ...]:
    """All names of training, or all that it never sees."""
    return _share(NAME_HEADS, NAME_TAILS, held_out)


@cache
def places(held_out: bool) -> tuple[str, ...]:
    """All places of training, or all that it never sees."""
    return _share(PLACE_HEADS, PLACE_TAILS, held_out)


def people(rng: random.Random, count: int, *, held_out: bool = False) -> list[Person]:
    """`count` people; no two share a name, a place or a thing of one colour."""
    owned = [(colour, thing) for colour in COLOURS for thing in THINGS]
    drawn = zip(
        rng.sample(names(held_out), count),
        rng.sample(places(held_out), count),
        rng.sample(owned, count),
        strict=True,
    )
    return [
        Person(name=name, kind=rng.choice(KINDS), colour=colour, thing=thing, place=place)
        for name, place, (colour, thing) in drawn
    ]


def _share(heads: tuple[str, ...], tails: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    """The split is drawn once, from a fixed seed: it is part of the corpus, not of a run."""
    drawn = random.Random("held out")
    return tuple(a + b for a in heads for b in tails if (drawn.random() < HELD_OUT) == held_out)
