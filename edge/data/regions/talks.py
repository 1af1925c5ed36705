"""Questions about a made scene and their answers: what a region is, where something is, what there is, and that
something is not there.

Answers name things by their numbers, as regions (`edge.text.pointing`). What is asked for and is not there has the
look of something that might be: a colour or a kind that the scene has, but never a pair that training does not show.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge.data.regions.examples import Talk
from edge.data.regions.expressions import RELATIONS, Noun, expressions
from edge.data.regions.things import (
    COLOURS,
    GROUPS,
    KINDS,
    SIZES,
    TEXTURES,
    Look,
    indefinite,
    pairs,
    several,
)
from edge.text.pointing import BOX, PHRASE, PHRASE_END, REGIONS, REGIONS_END, name
from edge.vision.boxes import Box

NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
WHAT = (f"What is {BOX}?", f"Describe {BOX}.", f"What do you see in {BOX}?")
COLOUR = (f"Which colour is {BOX}?", f"What colour does {BOX} have?")
TEXTURE = (f"Is {BOX} plain, striped, spotted or checked?",)
IS = (f"Is {BOX} {{}}?",)
BESIDE = (f"What is {{}} {BOX}?",)
WHERE = ("Where is {}?", "Point at {}.", "Find {}.")
EVERY = ("Where are {}?", "Point at {}.", "Find {}.")
THERE = ("Is there {}?", "Can you see {}?")
MANY = ("How many {} are there?", "Count the {}.")
SHOWS = ("What does the picture show?", "Describe the picture.", "What is there to see?")


def about(
    rng: random.Random, looks: Sequence[Look], boxes: Sequence[Box], *, held: bool
) -> tuple[Talk, ...]:
    """Of each topic one talk, where there is one; in an order that chance fixes."""
    shown = _Shown(looks, boxes, held)
    found = [talk for make in TOPICS.values() if (talk := make(rng, shown)) is not None]
    rng.shuffle(found)
    return tuple(found)


def words() -> frozenset[str]:
    """Every word of a question or an answer, in small letters and without marks."""
    said = [*WHAT, *COLOUR, *TEXTURE, *IS, *BESIDE, *WHERE, *EVERY, *THERE, *MANY, *SHOWS]
    said += [relation.words for relation in RELATIONS]
    for noun in (*KINDS, *GROUPS):
        said += [noun, several(noun)]
    said += [*COLOURS, *TEXTURES, *SIZES, *NUMBERS]
    said += [
        "yes there is there are it is nothing and a an the largest smallest leftmost rightmost topmost lowest"
    ]
    plain = " ".join(said).replace(BOX, " ").replace("{}", " ").lower()
    return frozenset(plain.translate({ord(mark): " " for mark in ".,?"}).split())


@dataclass(frozen=True, slots=True)
class _Shown:
    looks: Sequence[Look]
    boxes: Sequence[Box]
    held: bool

    def any(self, rng: random.Random) -> int:
        return rng.randrange(len(self.looks))


def _what(rng: random.Random, shown: _Shown) -> Talk:
    number = shown.any(rng)
    answer = _sentence(indefinite(shown.looks[number].name))
    return Talk(topic="what", question=rng.choice(WHAT), referred=(number,), answer=answer)


def _colour(rng: random.Random, shown: _Shown) -> Talk:
    number = shown.any(rng)
    answer = _sentence(shown.looks[number].colour)
    return Talk(topic="colour", question=rng.choice(COLOUR), referred=(number,), answer=answer)


def _texture(rng: random.Random, shown: _Shown) -> Talk:
    number = shown.any(rng)
    answer = _sentence(shown.looks[number].texture)
    return Talk(topic="texture", question=rng.choice(TEXTURE), referred=(number,), answer=answer)


def _is(rng: random.Random, shown: _Shown) -> Talk:
    """Whether a region is what someone says."""
    number = shown.any(rng)
    look = shown.looks[number]
    said = Noun(look.kind, look.colour)
    if rng.random() < 0.5:
        said = rng.choice([noun for noun in _near(shown) if not noun.fits(look)] or [said])
    right = said.fits(look)
    answer = (
        f"Yes, it is {indefinite(said.words)}." if right else f"No, it is {indefinite(look.name)}."
    )
    question = rng.choice(IS).format(indefinite(said.words))
    return Talk(topic="is", question=question, referred=(number,), answer=answer)


def _beside(rng: random.Random, shown: _Shown) -> Talk | None:
    """All that lies so to a region, if no one can doubt of anything whether it does."""
    number, relation = shown.any(rng), rng.choice(RELATIONS)
    box = shown.boxes[number]
    others = [n for n in range(len(shown.looks)) if n != number]
    sure = [n for n in others if relation.surely(shown.boxes[n], box)]
    if any(relation.perhaps(shown.boxes[n], box) for n in others if n not in sure):
        return None
    question = rng.choice(BESIDE).format(relation.words)
    answer = _sentence(_listed(shown, sure)) if sure else f"There is nothing {relation.words} it."
    return Talk(topic="beside", question=question, referred=(number,), answer=answer, grounded=True)


def _where(rng: random.Random, shown: _Shown) -> Talk | None:
    """One thing, by words that mean no other."""
    number = shown.any(rng)
    ways = [some for some in expressions(shown.looks, shown.boxes, number).values() if some]
    if not ways:
        return None
    question = rng.choice(WHERE).format(_phrase(f"the {rng.choice(rng.choice(ways))}"))
    return Talk(topic="where", question=question, answer=_regions([number]))


def _every(rng: random.Random, shown: _Shown) -> Talk | None:
    """All things that are called so."""
    some = [noun for noun in _nouns(shown) if len(noun.of(shown.looks)) > 1]
    if not some:
        return None
    noun = rng.choice(some)
    question = rng.choice(EVERY).format(_phrase(f"the {several(noun.words)}"))
    return Talk(topic="every", question=question, answer=_regions(noun.of(shown.looks)))


def _absent(rng: random.Random, shown: _Shown) -> Talk | None:
    """Where something is that is not there."""
    noun = _missing(rng, shown)
    question = rng.choice(WHERE).format(_phrase(f"the {noun.words}"))
    return Talk(topic="absent", question=question, answer=f"There is no {noun.words}.")


def _there(rng: random.Random, shown: _Shown) -> Talk:
    """Whether something is there, which it is as often as not."""
    noun = rng.choice(_nouns(shown)) if rng.random() < 0.5 else _missing(rng, shown)
    found = noun.of(shown.looks)
    question = rng.choice(THERE).format(indefinite(noun.words))
    answer = f"Yes, {_are(noun, found)}." if found else f"No, there is no {noun.words}."
    return Talk(topic="there", question=question, answer=answer, grounded=True)


def _many(rng: random.Random, shown: _Shown) -> Talk:
    noun = rng.choice(_nouns(shown)) if rng.random() < 0.7 else _missing(rng, shown)
    found = noun.of(shown.looks)
    answer = f"{_are(noun, found)}." if found else f"there is no {noun.words}."
    question = rng.choice(MANY).format(several(noun.words))
    return Talk(topic="many", question=question, answer=_capital(answer), grounded=True)


def _shows(rng: random.Random, shown: _Shown) -> Talk:
    """A caption: everything, from left to right."""
    order = sorted(range(len(shown.looks)), key=lambda number: shown.boxes[number])
    answer = _sentence(_listed(shown, order))
    return Talk(topic="shows", question=rng.choice(SHOWS), answer=answer, grounded=True)


TOPICS: Mapping[str, Callable[[random.Random, _Shown], Talk | None]] = {
    "what": _what,
    "colour": _colour,
    "texture": _texture,
    "is": _is,
    "beside": _beside,
    "where": _where,
    "every": _every,
    "absent": _absent,
    "there": _there,
    "many": _many,
    "shows": _shows,
}


def _nouns(shown: _Shown) -> list[Noun]:
    """What things of the scene are called by one or two words that are not all the same."""
    looks = list(dict.fromkeys(shown.looks))
    some = [Noun(look.kind, look.colour) for look in looks]
    some += [Noun(look.kind) for look in looks]
    some += [Noun("thing", look.colour) for look in looks]
    some += [Noun(look.group) for look in looks]
    return list(dict.fromkeys(some))


def _near(shown: _Shown) -> Iterator[Noun]:
    """What is not there, and could be: of each thing its kind in another colour, and another kind in its colour."""
    there = {(look.colour, look.kind) for look in shown.looks}
    for colour, kind in pairs(held=shown.held):
        if (colour, kind) not in there and any(colour == c or kind == k for c, k in there):
            yield Noun(kind, colour)


def _missing(rng: random.Random, shown: _Shown) -> Noun:
    """Something that is not there, mostly a near miss."""
    near = list(_near(shown))
    if near and rng.random() < 0.6:
        return rng.choice(near)
    kinds = {look.kind for look in shown.looks}
    return Noun(rng.choice([kind for kind in KINDS if kind not in kinds]))


def _are(noun: Noun, found: Sequence[int]) -> str:
    """ "there is a red circle", with its region."""
    if len(found) == 1:
        return f"there is {_phrase(indefinite(noun.words), found)}"
    return f"there are {_phrase(f'{NUMBERS[len(found)]} {several(noun.words)}', found)}"


def _listed(shown: _Shown, numbers: Sequence[int]) -> str:
    """Some things, those of one name together, in the order of the first of each."""
    alike: dict[str, list[int]] = {}
    for number in numbers:
        alike.setdefault(shown.looks[number].name, []).append(number)
    parts = [
        _phrase(
            indefinite(words) if len(some) == 1 else f"{NUMBERS[len(some)]} {several(words)}", some
        )
        for words, some in alike.items()
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _phrase(words: str, regions: Sequence[int] = ()) -> str:
    return f"{PHRASE}{words}{PHRASE_END}{_regions(regions) if regions else ''}"


def _regions(numbers: Sequence[int]) -> str:
    return f"{REGIONS}{''.join(map(name, numbers))}{REGIONS_END}"


def _sentence(words: str) -> str:
    return f"{_capital(words)}."


def _capital(words: str) -> str:
    """With a capital letter, behind a mark if one comes first."""
    head = PHRASE if words.startswith(PHRASE) else ""
    rest = words[len(head) :]
    return head + rest[:1].upper() + rest[1:]
