"""An artifact in use: prompt in, text out. What `edge.load` gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge import integrity
from edge.artifact import Artifact
from edge.decode.generate import Generation, generate, text_of
from edge.decode.sampling import Sampling
from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.targets import open_decoder
from edge.text.chat import ChatTemplate, Message, continuation, encode_chat
from edge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edge.decode.grammar import Grammar, GrammarConstraint

MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How an answer should be made."""

    max_tokens: int = MAX_TOKENS
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = ()
    grammar: "Grammar | None" = None  # the form that the answer must have


class Answer(Iterator[str]):
    """Pieces of text as they come; afterwards, all of it and what it took."""

    def __init__(
        self,
        generation: Generation,
        pieces: Iterator[str],
        form: "GrammarConstraint | None" = None,
    ) -> None:
        self.generation = generation
        self._form = form
        self.text = ""
        self._pieces = pieces

    @property
    def complete(self) -> bool | None:
        """Whether the answer has the form that was asked for; None where none was."""
        return None if self._form is None else self._form.complete

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece


class Model:
    """A loaded artifact with one sequence in progress."""

    def __init__(self, artifact: Artifact, decoder: Decoder) -> None:
        self.artifact = artifact
        self.decoder = decoder
        self.tokenizer = Tokenizer.load(artifact.folder)
        self.template = ChatTemplate.load(artifact.folder)

    def generate(
        self, prompt: str, *, system: str | None = None, raw: bool = False, wish: Wish | None = None
    ) -> Answer:
        """Answer one prompt, with nothing before it.

        The prompt becomes a user's turn in the model's chat template; `raw`, or a model without
        one, takes it as it is.
        """
        self.decoder.rewind(0)
        if raw and system is not None:
            raise EdgeError(
                "a raw prompt has no system message",
                fix="leave out --raw, or write it in the prompt",
            )
        if raw or (self.template is None and system is None):
            return self._answer(self.tokenizer.encode(prompt, special=True), (), wish or Wish())
        return self._answer(self._encode(_turns(system, prompt)), (), wish or Wish())

    def chat(self, *, system: str | None = None) -> "Chat":
        """A conversation whose cache is kept between turns."""
        if self.template is None:
            name = self.artifact.manifest.name
            raise EdgeError(
                f"{name} has no chat template: it only continues text",
                fix="give a prompt and --raw",
            )
        self.decoder.rewind(0)
        return Chat(self, [] if system is None else [Message("system", system)])

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        if self.template is None:
            raise EdgeError(
                "the model has no chat template, so no system message", fix="leave out --system"
            )
        return encode_chat(self.tokenizer, self.template, messages)

    def _answer(self, prompt: Sequence[int], seen: Sequence[int], wish: Wish) -> Answer:
        form = None
        if wish.grammar is not None:
            form = wish.grammar.constraint(self.tokenizer, self.tokenizer.stop_ids)
        generation = generate(
            self.decoder,
            prompt,
            sampling=wish.sampling,
            max_tokens=wish.max_tokens,
            stop_ids=self.tokenizer.stop_ids,
            seen=seen,
            constraint=form,
        )
        pieces = text_of(generation, self.tokenizer.stream(), stops=wish.stops)
        return Answer(generation, pieces, form)


@dataclass(slots=True)
class Chat:
    """Messages so far, and the ids that the decoder's cache holds of them."""

    model: Model
    messages: list[Message]
    cached: list[int] = field(default_factory=list)

    def say(self, text: str, wish: Wish | None = None) -> Iterator[str]:
        """The user's turn -> the assistant's, in pieces. A turn that fails or is left early is not
        remembered.
        """
        asked = [*self.messages, Message("user", text)]
        keep, new = continuation(self.cached, self.model._encode(asked))
        self.model.decoder.rewind(keep)
        seen, self.cached = self.cached[:keep], self.cached[:keep]
        answer = self.model._answer(new, seen, wish or Wish())
        try:
            yield from answer
            self.messages = [*asked, Message("assistant", answer.text)]
        finally:
            length = self.model.decoder.length
            self.cached = [*seen, *answer.generation.cached][:length]


def load(
    path: Path | str,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
) -> Model:
    """Open an artifact's folder; refuse it if a file is not what its manifest says.

    `exact` uses float activations where the fast kernels round them; `unchecked` trusts the files.
    """
    artifact = Artifact.open(Path(path))
    if not unchecked:
        integrity.check(artifact)
    return Model(artifact, open_decoder(artifact, threads=threads, exact=exact))


def _turns(system: str | None, prompt: str) -> list[Message]:
    first = [] if system is None else [Message("system", system)]
    return [*first, Message("user", prompt)]
