"""An artifact in use: prompt in, text out. What `edge.load` gives."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge import targets
from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.decode.generate import Detokenizer, Generation, generate, text_of
from edge.decode.rounding import cache_of
from edge.decode.sampling import Sampling
from edge.decode.speculate import Speculation, Tally
from edge.errors import EdgeError
from edge.gguf.foreign import artifact_at
from edge.gguf.shards import GGUFModel
from edge.gguf.text import read_text
from edge.protocols import Decoder
from edge.run.beside import with_adapter
from edge.run.strategy import PLAIN, Strategy, opened
from edge.spec import cache_bytes
from edge.system.progress import Progress, silent
from edge.text.chat import ChatTemplate, Message, Template, continuation, encode_chat
from edge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edge.decode.grammar import Grammar, GrammarConstraint, Vocabulary
    from edge.vision.boxes import Box
    from edge.vision.pictures import Picture

MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How an answer should be made."""

    max_tokens: int = MAX_TOKENS
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = ()
    grammar: "Grammar | None" = None  # the form that the answer must have
    goes_on: bool = False  # in the prompt's own text: a blank before the first word is part of it


class Answer(Iterator[str]):
    """Pieces of text as they come; afterwards, all of it and what it took."""

    def __init__(
        self,
        generation: Generation,
        pieces: Iterator[str],
        form: "GrammarConstraint | None" = None,
        words: Detokenizer | None = None,
    ) -> None:
        self.generation = generation
        self.words = words  # what its tokens became text by
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


class Sight(Protocol):
    """What a model that sees has besides: rows of pictures, in places of its prompt."""

    def count(self, picture: "Picture", most: int | None) -> int:
        """Rows that a picture of at most so many tiles takes."""
        ...

    def joined(self, parts: "Sequence[str | int]") -> str:
        """What a user says, in which a number stands for so many places of a picture."""
        ...

    def show(self, pictures: "Iterable[tuple[Picture, int | None]]") -> None:
        """What stands in the places of the next prompt, in their order."""
        ...


class Pointing(Protocol):
    """What a model that points has besides: a picture that a conversation is about."""

    @property
    def most(self) -> int:
        """Boxes of a user that it takes."""
        ...

    def told(
        self,
        turns: "Sequence[Message]",
        picture: "Picture",
        boxes: "Sequence[Box]",
        about: int,
    ) -> list[int]:
        """The prompt of a conversation about a picture, whose turn number `about` is about these boxes; networks look
        at the picture for it.
        """
        ...


class Model:
    """A loaded artifact with one sequence in progress. `words`: makes what tells the text of an answer's tokens, if
    that is not the tokenizer alone; of an answer that goes on in a text, or not.
    """

    sight: Sight | None = None
    pointing: Pointing | None = None
    words: Callable[[bool], Detokenizer] | None = None

    def __init__(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer,
        template: Template | None,
        source: Decoder | Speculation,
    ) -> None:
        self.artifact = artifact
        self.tokenizer = tokenizer
        self.template = template
        self.source = source
        self.stop_ids = tokenizer.stop_ids
        self.decoder = source.decoder if isinstance(source, Speculation) else source
        self._seen: list[int] = []  # what the cache held when the last reply began
        self._last: Generation | None = None

    def generate(
        self, prompt: str, *, system: str | None = None, raw: bool = False, wish: Wish | None = None
    ) -> Answer:
        """Answer one prompt, with nothing before it.

        The prompt becomes a user's turn in the model's chat template; `raw`, or a model without
        one, takes it as it is, and goes on in its text.
        """
        self.forget()
        ids = prompt_ids(self.tokenizer, self.template, prompt, system=system, raw=raw)
        on = raw or self.template is None
        return self.reply(ids, replace(wish or Wish(), goes_on=on))

    def chat(self, *, system: str | None = None) -> "Chat":
        """A conversation whose cache is kept between turns."""
        if self.template is None:
            name = self.artifact.manifest.name
            raise EdgeError(
                f"{name} has no chat template: it only continues text",
                fix="give a prompt and --raw",
            )
        self.forget()
        return Chat(self, [] if system is None else [Message("system", system)])

    def forget(self) -> None:
        """Begin a new sequence with the next reply."""
        self.decoder.rewind(0)
        self._seen, self._last = [], None

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return _encoded(self.tokenizer, self.template, messages)

    @property
    def cached(self) -> list[int]:
        """Ids that the decoder's cache holds."""
        made = () if self._last is None else self._last.cached
        return [*self._seen, *made][: self.decoder.length]

    @property
    def tally(self) -> Tally | None:
        """What drafts were worth so far; None without drafts."""
        return self.source.tally if isinstance(self.source, Speculation) else None

    @property
    def cache_rows(self) -> tuple[int, ...]:
        """Rows that each layer's cache holds: as many as tokens, where none were forgotten."""
        return cache_of(self.decoder)[0]

    @property
    def cache_mb(self) -> float:
        """What those rows take."""
        rows, number = cache_of(self.decoder)
        return cache_bytes(self.artifact.manifest.decoder, rows, number=number) / 1e6

    @cached_property
    def vocabulary(self) -> "Vocabulary":
        """The tokens as a grammar knows them: made once, for it takes a second with a large one."""
        from edge.decode.grammar import Vocabulary

        return Vocabulary.of(self.tokenizer, self.tokenizer.stop_ids)

    def reply(self, ids: Sequence[int], wish: Wish | None = None) -> Answer:
        """Answer a whole sequence of ids; what the cache holds of its beginning is not read again.

        A reply that is left early is over: the next one takes it from there.
        """
        wish = wish or Wish()
        if not ids:
            raise EdgeError(
                "the prompt is empty, and the model has no token that begins a text",
                fix="give a prompt",
            )
        self.decoder.rewind(continuation(self.cached, ids)[0])
        keep = self.decoder.length
        self._seen, self._last = list(ids[:keep]), None
        form = None if wish.grammar is None else wish.grammar.constraint(self.vocabulary)
        generation = generate(
            self.source,
            ids[keep:],
            sampling=wish.sampling,
            max_tokens=wish.max_tokens,
            stop_ids=self.stop_ids,
            seen=self._seen,
            constraint=form,
        )
        self._last = generation
        stream: Detokenizer = self.tokenizer.stream(inside=wish.goes_on)
        words = stream if self.words is None else self.words(wish.goes_on)
        pieces = text_of(generation, words, stops=wish.stops)
        return Answer(generation, pieces, form, words)


@dataclass(slots=True)
class Chat:
    """A conversation; the decoder's cache keeps what was read of it."""

    model: Model
    messages: list[Message]

    def say(self, text: str, wish: Wish | None = None) -> Iterator[str]:
        """The user's turn -> the assistant's, in pieces. A turn that fails or is left early is not
        remembered.
        """
        asked = [*self.messages, Message("user", text)]
        answer = self.model.reply(self.model.encode(asked), wish)
        yield from answer
        self.messages = [*asked, Message("assistant", answer.text)]


def load(
    path: Path | str,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    turns: bool = True,
    adapter: Path | str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Open an artifact's folder; refuse it if a file is not what its manifest says. Or a GGUF file of
    anyone's, which says itself what it is.

    `exact` uses float activations where the fast kernels round them; `unchecked` trusts the files;
    `strategy` says how tokens are decoded; without `turns`, nothing is made ready for a conversation; `adapter`: a
    folder of PEFT's or mlx-lm's, LoRA or DoRA, that is computed beside the artifact's weights.
    """
    artifact = artifact_at(Path(path))
    spec = artifact.manifest.decoder  # refuses a network of another kind
    if not unchecked and artifact.file is None:
        integrity.check(artifact)
    targets.runtime(artifact.manifest.target)  # before anything is read for it
    artifact = with_adapter(artifact, adapter, progress or silent)
    # First, for reading takes more than it keeps.
    tokenizer, template = vocabulary(artifact, turns=turns)
    source = opened(artifact, strategy, threads=threads, exact=exact)
    tokenizer.check(spec.vocab)  # no id past the embedding's rows
    return Model(artifact, tokenizer, template, source)


def vocabulary(artifact: Artifact, *, turns: bool = False) -> tuple[Tokenizer, ChatTemplate | None]:
    """What text becomes ids by; `turns`: a template is made ready for one, beside what is read."""
    if artifact.file is None:
        template = ChatTemplate.load(artifact.folder)
        if turns and template is not None:
            template.get_ready()
        return Tokenizer.load(artifact.folder), template
    with GGUFModel(artifact.file) as file:
        tokenizer, template = read_text(file)
    if turns and template is not None:
        template.get_ready()
    return tokenizer, template


def prompt_ids(
    tokenizer: Tokenizer,
    template: Template | None,
    prompt: str,
    *,
    system: str | None = None,
    raw: bool = False,
) -> list[int]:
    """A prompt as a user's turn in the chat template; `raw`, or without a template, as it is."""
    if raw and system is not None:
        raise EdgeError(
            "a raw prompt has no system message",
            fix="leave out --raw, or write it in the prompt",
        )
    if raw or (template is None and system is None):
        return tokenizer.encode(prompt, special=True)
    return _encoded(tokenizer, template, _turns(system, prompt))


def _encoded(
    tokenizer: Tokenizer, template: Template | None, messages: Sequence[Message]
) -> list[int]:
    if template is None:
        raise EdgeError(
            "the model has no chat template, so no system message", fix="leave out --system"
        )
    return encode_chat(tokenizer, template, messages)


def _turns(system: str | None, prompt: str) -> list[Message]:
    first = [] if system is None else [Message("system", system)]
    return [*first, Message("user", prompt)]
