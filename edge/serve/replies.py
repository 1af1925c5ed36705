"""What a model of text is asked for, and its answer as it is made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from edge.errors import EdgeError
from edge.run.model import Answer, Wish
from edge.serve.engine import Making


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of token ids, how its answer should be made, and what is done first."""

    ids: list[int]
    wish: Wish
    # On the model's thread, in its turn; the prompt, where only that tells it.
    before: Callable[[], list[int] | None] = lambda: None


@runtime_checkable
class Pointing(Protocol):
    """What makes text of an answer that names regions."""

    @property
    def spans(self) -> list[dict[str, Any]]: ...


class Replies(Protocol):
    """What is needed of a model."""

    def reply(self, ids: list[int], wish: Wish, /) -> Answer: ...

    def forget(self) -> None: ...


Piece = str | bytes  # of text, or of the sound of it


class Reply(Making[Piece]):
    """Pieces of text. `ask`: what it takes to know the prompt."""

    def __init__(self, model: Replies, ask: Callable[[], Asked]) -> None:
        self._model, self._ask = model, ask
        self._asked: Asked | None = None
        self.answer: Answer | None = None  # once it has begun
        self.prompt_tokens = 0

    def prepare(self) -> None:
        self._asked = self._ask()
        self.prompt_tokens = len(self._asked.ids)

    def __iter__(self) -> Iterator[Piece]:
        yield from self.texts()

    def texts(self) -> Iterator[str]:
        assert self._asked is not None
        told = self._asked.before()
        ids = self._asked.ids if told is None else told
        self.prompt_tokens = len(ids)
        self.answer = self._model.reply(ids, self._asked.wish)
        for piece in self.answer:
            yield piece
            if self.late:
                return

    def stop(self) -> None:
        if self.answer is not None:  # whose tokens may be no text for long
            self.answer.generation.stop()

    def forget(self) -> None:
        self._model.forget()  # of a prompt that was read in part
        if self.late and self.answer is None:
            raise EdgeError("the time is up before the prompt is read", fix="shorten it")

    @property
    def regions(self) -> list[dict[str, Any]] | None:
        """Phrases of a whole answer, and their boxes; None of a model that points at nothing."""
        assert self.answer is not None
        words, length = self.answer.words, len(self.answer.text)
        if not isinstance(words, Pointing):
            return None
        return [one for one in words.spans if one["end"] <= length]  # a stop cuts the text, too

    @property
    def ending(self) -> Literal["stop", "length"]:
        """Why it ended, in OpenAI's words; one that ran out of time was cut off, too."""
        assert self.answer is not None
        whole = self.answer.generation.ending == "stop" and not self.late
        return "stop" if whole else "length"
