"""How far back a model still finds a fact: exact match of whole answers, by distance in tokens.

Names and places are ones that training never saw. A question's distance is counted from the end of the earliest fact
that it asks for to the question itself.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from edge.data.questions import KINDS, Kind, Question, ask
from edge.data.stories import story
from edge.data.world import Person, names, people, places

Answer = Callable[[str], str]  # what a user says -> what the model answers

ONE_FACT: tuple[Kind, ...] = ("what", "who", "where", "colour")
DISTANCES = (50, 100, 200, 500, 1000)
CROWD = 60  # more people than the longest context names


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question at the end of its context. `later`: another one, about somebody else of the same
    story, if all of that was told.
    """

    prompt: str
    distance: int
    question: Question
    later: Question | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Exact answers at one distance: in all, and by kind of question (right, asked)."""

    distance: int
    right: int
    asked: int
    kinds: dict[Kind, tuple[int, int]]

    @property
    def share(self) -> float:
        return self.right / self.asked


def by_distance(
    answer: Answer, *, seed: int = 0, per_distance: int = 120, distances: Sequence[int] = DISTANCES
) -> list[Score]:
    """Ask `per_distance` questions at each distance, of all kinds in turn."""
    scores = []
    for distance in distances:
        kinds: dict[Kind, tuple[int, int]] = {}
        for number in range(per_distance):
            asked = case(random.Random(f"{seed}/{distance}/{number}"), number, distance)
            kind = asked.question.kind
            right, count = kinds.get(kind, (0, 0))
            exact = answer(asked.prompt).strip() == asked.question.answer
            kinds[kind] = right + exact, count + 1
        right, count = (sum(column) for column in zip(*kinds.values(), strict=True))
        scores.append(Score(distance=distance, right=right, asked=count, kinds=kinds))
    return scores


def case(rng: random.Random, number: int, distance: int) -> Case:
    """The context ends with the first sentence that puts the question at `distance` or beyond."""
    crowd = iter(people(rng, CROWD, held_out=True))
    cast = [next(crowd), next(crowd)]
    person, other = rng.sample(cast, 2)
    question = ask(KINDS[number % len(KINDS)], person, other)
    sentences: list[str] = []
    if rng.random() < 0.5:
        sentences += _sentences(rng, [next(crowd)])
    sentences += _sentences(rng, cast)
    facts = [sentences.index(fact) for fact in question.about]
    end, reached = max(facts) + 1, 0
    while True:
        while len(sentences) <= end:
            sentences += _sentences(rng, [next(crowd) for _ in range(rng.randint(1, 3))])
        reached = sum(map(tokens, sentences[min(facts) + 1 : end]))
        if reached >= distance:
            break
        end += 1
    later = ask((*ONE_FACT, "two facts")[number // len(KINDS) % 5], other, person)
    told = set(later.about) <= set(sentences[:end])
    prompt = " ".join([*sentences[:end], question.text])
    return Case(prompt=prompt, distance=reached, question=question, later=later if told else None)


def needle(rng: random.Random, number: int, *, depth: float, length: int = 1000) -> Case:
    """One fact about somebody that nothing else is told of, after this share of `length` tokens."""
    crowd = iter(people(rng, CROWD, held_out=True))
    person = next(crowd)
    question = ask(ONE_FACT[number % len(ONE_FACT)], person, person)
    sentences: list[str] = []
    while sum(map(tokens, sentences)) < length:
        sentences += _sentences(rng, [next(crowd) for _ in range(rng.randint(1, 3))])
    at = round(depth * len(sentences))
    behind = sum(map(tokens, sentences[at:]))
    text = [*sentences[:at], question.about[0], *sentences[at:], question.text]
    return Case(prompt=" ".join(text), distance=behind, question=question)


def text(*, seed: int = 0, count: int = 100) -> str:
    """Stories about people that training never saw, one after the other: for `edge eval --text`."""
    rng = random.Random(f"text {seed}")
    return " ".join(story(rng, people(rng, rng.randint(1, 3), held_out=True)) for _ in range(count))


def tokens(text: str) -> int:
    """Tokens of a text of the small world: a word or a mark is one, a name or a place two."""
    words = re.findall(r"[A-Za-z]+|[^A-Za-z\s]", text.replace("'s", "'"))
    return len(words) + sum(word in _two_pieces() for word in words)


@cache
def _two_pieces() -> frozenset[str]:
    return frozenset().union(*(names(flag) + places(flag) for flag in (False, True)))


def _sentences(rng: random.Random, cast: list[Person]) -> list[str]:
    return re.split(r"(?<=\.) ", story(rng, cast))
