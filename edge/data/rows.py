"""Training rows: stories, chats about them, as token ids with the part that each token plays.

A row is one context. All people in it are distinct, so that what one chat says never contradicts another.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

from edge.data.questions import REQUESTS, RETELL, Question, once_each
from edge.data.stories import notes, story
from edge.data.world import COLOURS, THINGS, Person, names, people, places

CROWD = 160  # more people than any row can hold
WORDS = (*names(False)[::6], *places(False)[::6], *COLOURS, *THINGS)
BELONGINGS = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)
FILLERS = ("a", "had", "lived", "in", "was", "the")
ECHO_TOKENS = 48  # what a person's facts take, told twice


class Part(IntEnum):
    """What a token is to the loss."""

    SCAFFOLD = 0  # roles, questions
    STORY = 1
    ANSWER = 2
    ECHO = 3  # what is told again: every token of it can be found above


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of the curriculum: how long rows are, how much they say."""

    length: int
    batch: int
    people: int  # of one chat, at most
    prose: float  # share of whole stories; the rest are bare facts
    free: float  # share of rows that are stories without questions
    echo: float  # share of rows whose facts are told again: from them, copying forms first
    lists: float  # share of rows of words without sense, told again: every token must be copied
    pairs: float  # share of rows of names and a word for each, told again in another order
    until: float  # the share of answers, all tokens right, that ends the stage

    def reviewed(self) -> "Stage":
        """The same without what only teaches to copy: a model that goes on telling again forgets to answer."""
        return replace(self, echo=0.0, lists=0.0, pairs=0.0)


@dataclass(slots=True)
class Row:
    """Token ids and their parts, as long as each other."""

    ids: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)

    def add(self, ids: list[int], part: Part) -> None:
        self.ids += ids
        self.parts += [int(part)] * len(ids)


class Writer:
    """Writes rows with the tokens of one tokenizer.

    Words are tokenized once: no token of the world spans a space.
    """

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self._words: dict[str, list[int]] = {}

    def row(self, rng: random.Random, stage: Stage) -> Row:
        """A row of exactly stage.length + 1 tokens: the last is only predicted."""
        row, crowd = Row(), iter(people(rng, CROWD))
        if rng.random() < 0.5:
            self._mark(row, "<s>")
        draw = rng.random()
        while len(row.ids) <= stage.length:
            if draw < stage.free:
                self._free(row, rng, crowd)
            elif draw < stage.free + stage.echo:
                self._echo(row, rng, crowd, stage)
            elif draw < stage.free + stage.echo + stage.lists:
                self._list(row, rng, stage)
            elif draw < stage.free + stage.echo + stage.lists + stage.pairs:
                self._pairs(row, rng, stage)
            else:
                self._chat(row, rng, crowd, stage)
        return Row(row.ids[: stage.length + 1], row.parts[: stage.length + 1])

    def _free(self, row: Row, rng: random.Random, crowd: Iterator[Person]) -> None:
        """A story, or one that a user asks for."""
        cast = [next(crowd) for _ in range(rng.randint(1, 3))]
        asked = rng.random() < 0.5
        if asked:
            self._mark(row, "<|user|>")
            self._say(row, rng.choice(REQUESTS).format(name=cast[0].name), Part.SCAFFOLD)
            self._mark(row, "<|end|>", "<|assistant|>")
        self._say(row, story(rng, cast), Part.STORY)
        self._mark(row, *(["<|end|>"] if asked else []), "<|endoftext|>", part=Part.STORY)

    def _chat(self, row: Row, rng: random.Random, crowd: Iterator[Person], stage: Stage) -> None:
        """Stories, then every question that they allow; sometimes in several such turns."""
        count = max(rng.randint(1, stage.people), rng.randint(1, stage.people))
        cast = [next(crowd) for _ in range(count)]
        turns = rng.choice((1, 1, 2, 4, 8))
        few = rng.random() < 0.4  # as a user asks: once or twice, in the turn that tells
        pending: list[Question] = []
        while cast:
            told = cast[: -(-count // turns)]
            del cast[: len(told)]
            self._mark(row, "<|user|>")
            text = _cut(rng, " ".join(_tell(rng, list(told), stage.prose)))
            self._say(row, text, Part.STORY)
            asking = once_each(rng, told)
            pending += [new for new in asking if all(fact in text for fact in new.about)]
            rng.shuffle(pending)
            asked = min(len(pending), rng.randint(1, 2)) if cast or few else len(pending)
            if not asked:
                self._mark(row, "<|end|>")
            for index in range(asked):
                if index:
                    self._mark(row, "<|user|>")
                self._ask(row, pending.pop())
        self._mark(row, "<|endoftext|>")

    def _echo(self, row: Row, rng: random.Random, crowd: Iterator[Person], stage: Stage) -> None:
        """Bare facts, told again in the same or in another order."""
        cast = [next(crowd) for _ in range(rng.randint(2, max(2, stage.length // ECHO_TOKENS)))]
        facts = notes(rng, cast).split(". ")
        self._mark(row, "<|user|>")
        self._say(row, ". ".join(facts), Part.STORY)
        self._say(row, RETELL, Part.SCAFFOLD)
        self._mark(row, "<|end|>", "<|assistant|>")
        facts[-1] = facts[-1].removesuffix(".")
        if mixed := rng.random() < 0.7:
            rng.shuffle(facts)
        for fact in facts:
            name, verb, rest = (fact + ".").split(" ", 2)
            free = Part.SCAFFOLD if mixed else Part.ECHO  # which fact comes next cannot be known
            self._say(row, f"{name} {verb}", free)
            self._say(row, rest, Part.ECHO)
        self._mark(row, "<|end|>", part=Part.ECHO)
        self._mark(row, "<|endoftext|>")

    def _list(self, row: Row, rng: random.Random, stage: Stage) -> None:
        """Words without sense, told again in the same order."""
        words = [rng.choice(WORDS) for _ in range(rng.randint(3, stage.length // 8))]
        self._retell(row, " ".join(words))
        self._say(row, " ".join(words), Part.ANSWER)
        self._mark(row, "<|end|>", part=Part.ANSWER)

    def _pairs(self, row: Row, rng: random.Random, stage: Stage) -> None:
        """A word for each of some names or a name for each word, told again in another order.

        What stands between the two differs from the first time: the asking side and the told side
        learn one by one to look past it, which together they do not.
        """
        told, again = (rng.choices(FILLERS, k=rng.choice((0, 0, 1, 2, 3))) for _ in range(2))
        size = 6 + len(told) + len(again)  # names are two tokens, words one or two
        count = rng.randint(2, max(2, min(rng.choice((3, 5, 8, 99)), stage.length // size)))
        words = rng.sample(WORDS if rng.random() < 0.5 else BELONGINGS, count)
        pairs = list(zip(rng.sample(names(False), count), words, strict=True))
        if rng.random() < 0.5:
            pairs = [(word, name) for name, word in pairs]
        self._retell(row, " ".join(" ".join([given, *told, wanted]) for given, wanted in pairs))
        rng.shuffle(pairs)
        for given, wanted in pairs:
            self._say(row, " ".join([given, *again]), Part.SCAFFOLD)
            self._say(row, wanted, Part.ECHO)
        self._mark(row, "<|end|>")

    def _retell(self, row: Row, text: str) -> None:
        self._mark(row, "<|user|>")
        self._say(row, text, Part.SCAFFOLD)
        self._say(row, RETELL, Part.SCAFFOLD)
        self._mark(row, "<|end|>", "<|assistant|>")

    def _ask(self, row: Row, question: Question) -> None:
        self._say(row, question.text, Part.SCAFFOLD)
        self._mark(row, "<|end|>", "<|assistant|>")
        self._say(row, question.answer, Part.ANSWER)
        self._mark(row, "<|end|>", part=Part.ANSWER)

    def _say(self, row: Row, text: str, part: Part) -> None:
        for word in text.split(" "):
            if word not in self._words:
                self._words[word] = self._encode(word)
            row.add(self._words[word], part)

    def _mark(self, row: Row, *tokens: str, part: Part = Part.SCAFFOLD) -> None:
        for token in tokens:
            self._say(row, token, part)


def _cut(rng: random.Random, text: str) -> str:
    """Often a question comes before a story has ended: it is no reason to go on telling."""
    sentences = re.split(r"(?<=\.) ", text)
    if rng.random() < 0.5:
        return text
    return " ".join(sentences[: rng.randint((len(sentences) + 1) // 2, len(sentences))])


def _tell(rng: random.Random, cast: list[Person], prose: float) -> Iterator[str]:
    """Stories or bare facts of one to three people each, until all have been spoken of."""
    while cast:
        some = cast[: rng.randint(1, 3)]
        del cast[: len(some)]
        yield story(rng, some) if rng.random() < prose else notes(rng, some)
