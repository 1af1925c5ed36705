"""An answer that is spoken while it is written: each sentence as soon as it is whole."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from edge.errors import EdgeError
from edge.text.spoken.sentences import Sentences

Sound = TypeVar("Sound")


def aloud(
    pieces: Iterable[str],
    sentences: Sentences,
    say: Callable[[str], Iterable[Sound]],
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[str | Sound]:
    """The pieces of a text, and after those that make a sentence whole its sound, as `say` gives it. `told` hears of a
    sentence that cannot be said, which is no reason to lose the answer.
    """

    def spoken(some: Iterable[str]) -> Iterator[Sound]:
        for sentence in some:
            try:
                yield from say(sentence)
            except EdgeError as error:
                told(error.problem)

    for piece in pieces:
        yield piece
        yield from spoken(sentences.add(piece))
    yield from spoken(sentences.end())
