"""Short stories of the small world. Every person in one has a thing that pleases them, and a home."""

import random
from collections.abc import Sequence

from edge.data.world import Person

OPENINGS = (
    "Once upon a time, there was a {adjective} {kind} named {name}.",
    "Once upon a time there was a {kind} named {name}.",
    "There was once a {adjective} {kind} named {name}.",
)
ADJECTIVES = ["little", "kind", "brave", "happy", "clever", "quiet", "funny", "young"]
HABITS = (
    "{name} liked to sing.",
    "{name} was very {adjective}.",
    "{name} loved to run and play.",
    "{name} often looked at the stars.",
    "{name} took good care of the {thing}.",
    "Every morning, {name} swept the floor.",
    "{name} loved the old {thing}.",
)
SPOTS = ["river", "forest", "market", "garden", "bridge", "lake", "meadow", "beach"]
OUTINGS = (
    "One day, {name} went to the {spot}.",
    "One morning, {name} walked to the {spot}.",
    "The sun was warm, so {name} went for a walk by the {spot}.",
)
MEETINGS = (
    "There {name} met a {kind} named {other}.",
    "A {kind} named {other} was there too.",
    "On the way, {name} saw a {kind} named {other}.",
)
# What goes wrong, how a friend helps, how it ends without one.
TROUBLES = (
    (
        "But {name} lost the {thing}. {name} looked everywhere and was very sad.",
        "{other} found the {thing} under a tree. {name} was happy and said thank you.",
        "At last {name} found the {thing} under a tree and was happy again.",
    ),
    (
        "Then it began to rain. {name} was wet and cold.",
        "{other} made a fire and gave {name} some warm soup.",
        "{name} made a fire and waited until the sun came back.",
    ),
    (
        "After a while, {name} was very hungry.",
        "{other} shared some bread and cheese with {name}.",
        "{name} found some sweet berries and ate them all.",
    ),
    (
        "Suddenly, {name} fell into a deep hole and could not get out.",
        "{other} heard the noise and pulled {name} out of the hole.",
        "{name} climbed and climbed until the hole was far below.",
    ),
    (
        "A big wind came and took the {thing} away.",
        "{other} ran after the {thing} and brought it back to {name}.",
        "{name} ran after the {thing} and caught it by the {spot}.",
    ),
)
ENDINGS_TOGETHER = (
    "They played all day and went home when it was dark.",
    "From that day on, {name} and {other} were good friends.",
    "{name} and {other} laughed and danced until the evening.",
)
ENDINGS_ALONE = (
    "In the evening, {name} went home and slept well.",
    "{name} went home with a smile.",
)


def story(rng: random.Random, cast: Sequence[Person]) -> str:
    """A whole story: the first of `cast` is its hero, the second its friend, others come by."""
    hero = cast[0]
    other = cast[1].name if len(cast) > 1 else ""
    spot, (trouble, helped, alone) = rng.choice(SPOTS), rng.choice(TROUBLES)

    def say(line: str, person: Person = hero) -> str:
        adjective = rng.choice(ADJECTIVES)
        return line.format(
            name=person.name,
            thing=person.thing,
            kind=person.kind,
            other=other,
            spot=spot,
            adjective=adjective,
        )

    lines = [say(rng.choice(OPENINGS)), *_facts(rng, hero)]
    lines.insert(rng.randint(1, len(lines)), say(rng.choice(HABITS)))
    lines.append(say(rng.choice(OUTINGS)))
    for person in cast[1:]:
        meeting = rng.choice(MEETINGS).format(name=hero.name, kind=person.kind, other=person.name)
        lines += [meeting, *_facts(rng, person)]
    lines.append(say(trouble))
    lines.append(say(helped if other else alone))
    lines.append(say(rng.choice(ENDINGS_TOGETHER if other else ENDINGS_ALONE)))
    if rng.random() < 0.5:
        lines.append("The end.")
    return " ".join(lines)


def notes(rng: random.Random, cast: Sequence[Person]) -> str:
    """Only what can be asked, in any order: where a model learns to bind facts to people."""
    lines = [line for person in cast for line in _facts(rng, person)]
    rng.shuffle(lines)
    return " ".join(lines)


def owns(person: Person) -> str:
    return f"{person.name} had a {person.colour} {person.thing}."


def lives(person: Person) -> str:
    return f"{person.name} lived in {person.place}."


def pleases(person: Person) -> str:
    """Who owns a thing, with the name after it: reading forward from the thing finds its owner."""
    return f"The {person.colour} {person.thing} made {person.name} happy."


def _facts(rng: random.Random, person: Person) -> list[str]:
    """In any order, but a thing is owned before it pleases."""
    facts = [owns(person), pleases(person)]
    facts.insert(rng.randint(0, 2), lives(person))
    return facts
