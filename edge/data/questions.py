"""Questions about the facts of a story, and their answers: whole sentences that echo the story's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge.data.stories import lives, owns, pleases
from edge.data.world import Person

Kind = Literal["what", "who", "where", "colour", "two facts", "two people"]
REQUESTS = (
    "Once upon a time",
    "Tell me a story.",
    "Tell me a story about {name}.",
    "Please tell me a story about {name}.",
)
RETELL = "Tell it again."
KINDS: tuple[Kind, ...] = ("what", "who", "where", "colour", "two facts", "two people")

ABOUT_THINGS: tuple[Kind, ...] = ("what", "who", "colour", "two facts", "two people")
ODDS = (2, 4, 2, 2, 2)  # who owns a thing is the hardest to learn


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """`about` are the sentences of the story that hold the answer."""

    kind: Kind
    text: str
    answer: str
    about: tuple[str, ...]


def ask(kind: Kind, person: Person, other: Person) -> Question:
    """A question about `person`; `other` is the second of two people."""
    name, has, home = person.name, owns(person), lives(person)
    texts: dict[Kind, tuple[str, tuple[str, ...]]] = {
        "what": (f"What did {name} have?", (has,)),
        "who": (f"Who had a {person.colour} {person.thing}?", (pleases(person),)),
        "where": (f"Where did {name} live?", (home,)),
        "colour": (f"What colour was {name}'s {person.thing}?", (has,)),
        "two facts": (f"What did {name} have and where did {name} live?", (has, home)),
        "two people": (f"What did {name} and {other.name} have?", (has, owns(other))),
    }
    text, about = texts[kind]
    answers: dict[Kind, str] = {
        "who": has,
        "colour": f"{name}'s {person.thing} was {person.colour}.",
    }
    answer = answers.get(kind, " ".join(about))
    return Question(kind=kind, text=text, answer=answer, about=about)


def once_each(rng: random.Random, cast: Sequence[Person]) -> list[Question]:
    """Questions that ask for each fact at most once: no answer can be copied from an earlier answer."""
    things, homes = rng.sample(cast, len(cast)), {person.name for person in cast}
    asked = []
    while things:
        person = things.pop()
        kind: Kind = rng.choices(ABOUT_THINGS, ODDS)[0]
        if kind == "two people" and not things:
            kind = "what"
        asked.append(ask(kind, person, things.pop() if kind == "two people" else person))
        if kind == "two facts":
            homes.discard(person.name)
    asked += [ask("where", person, person) for person in cast if person.name in homes]
    rng.shuffle(asked)
    return asked
