"""What a client may ask, with a range for every number: a field out of range is refused by name.

Every field of OpenAI's API is here: honoured, taken because it changes nothing (`Inert`, `Only`), or
refused by what it says. A field that would change the answer is never ignored.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from edge.decode.grammar import Grammar
from edge.decode.sampling import Sampling
from edge.errors import EdgeError
from edge.run.model import Model, Pointing, Sight, Wish
from edge.serve.fields import FieldError, Inert, Only, Strict
from edge.serve.pictures import ImageURL, Shown, opened, rows_of, show, shown
from edge.serve.recordings import DEFAULT, VoiceAsk
from edge.serve.replies import Asked
from edge.text.chat import Message
from edge.text.pointing import GROUND, PHRASE
from edge.vision.boxes import fit
from edge.vision.pictures import Picture

TEXT = 1 << 20  # characters of one text
Side = Annotated[float, Field(ge=-(1 << 20), le=1 << 20, allow_inf_nan=False)]
Sides = Annotated[list[Side], Field(min_length=4, max_length=4)]  # of a box, in pixels

_TOOLS = "models call no tools here: leave it out"
_PENALTY = "there is no such penalty here: leave it out, or send 0"
_CHANCES = "probabilities of tokens are not given here: leave it out"
_BIAS = "tokens cannot be favoured here: leave it out"
_SOUND = "sound is not kept here: send what was said as content"
_ONE = "one answer a request: ask again for another"
_CACHE = "the cache of a conversation is kept as it is"
_TELLS = "only a service with accounts reads it"


class Part(Strict):
    """A piece of a message's content."""

    type: Annotated[
        Any, Only("text", "image_url", instead="only text and pictures (image_url) are read here")
    ]
    text: str = Field(default="", max_length=TEXT)
    image_url: ImageURL | None = None
    boxes: Annotated[list[Sides], Field(max_length=100)] | None = None
    prompt_cache_breakpoint: Annotated[Any, Inert(_CACHE)] = None

    @model_validator(mode="after")
    def _whole(self) -> "Part":
        given = {name for name in ("text", "image_url") if name in self.model_fields_set}
        if given != {self.type}:
            raise ValueError(f"a part of the type {self.type} has {self.type}, and nothing else")
        if self.boxes and self.image_url is None:
            raise ValueError("boxes are of a picture: send them in its part")
        return self


class Turn(Strict):
    """One message of a conversation; also an answer as a client keeps it."""

    role: Literal["system", "developer", "user", "assistant"]
    name: Annotated[Any, Only(instead="templates show no names: write it into the content")] = None
    refusal: Annotated[Any, Only(instead="send what was said as content")] = None
    annotations: Annotated[Any, Only([], instead="citations are not read: leave it out")] = None
    audio: Annotated[Any, Only(instead=_SOUND)] = None
    function_call: Annotated[Any, Only(instead=_TOOLS)] = None
    tool_calls: Annotated[Any, Only([], instead=_TOOLS)] = None
    parsed: Annotated[Any, Inert("the content says the same")] = None
    regions: Annotated[Any, Inert("they are found anew")] = None
    content: list[Part] = Field(max_length=TEXT)  # last: where it lacks, one of these says why

    @field_validator("content", mode="before")
    @classmethod
    def _parts(cls, value: object) -> object:
        if not isinstance(value, str | list):
            raise ValueError("it should be a text, or a list of parts")
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    def pictures(self) -> list[Shown]:
        images = [part for part in self.content if part.image_url is not None]
        if images and self.role != "user":
            raise FieldError(
                "messages", f"the role {self.role} has a picture", fix="send it as a user's"
            )
        return [shown(one.image_url, one.boxes or ()) for one in images if one.image_url]

    def said(self) -> Message:
        """Its text alone."""
        role = "system" if self.role == "developer" else self.role
        return Message(role, "".join(part.text for part in self.content))

    def message(self, sight: Sight | None) -> Message:
        said, pictures = self.said(), self.pictures()
        if any(one.boxes for one in pictures):
            problem = "this model points at no regions"
            raise FieldError("messages", problem, fix="leave out boxes, or serve one that does")
        if sight is None:
            if pictures:
                raise FieldError(
                    "messages",
                    "this model sees no pictures",
                    fix="send text, or serve one that does",
                )
            return said
        return Message(said.role, sight.joined(self._parts_of(rows_of(sight, pictures))))

    def _parts_of(self, rows: list[int]) -> list[str | int]:
        """Texts, and the rows of pictures: before all text, as the model was trained, but a picture that stands
        between two texts stays there.
        """
        left = iter(rows)
        parts = [part.text if part.image_url is None else next(left) for part in self.content]
        places = [i for i, part in enumerate(parts) if isinstance(part, int)]
        said = [i for i, part in enumerate(parts) if isinstance(part, str) and part.strip()]
        if any(min(said, default=place) < place < max(said, default=place) for place in places):
            return parts
        first: list[str | int] = [part for count in rows for part in (count, "\n")]
        return first + [part for part in parts if isinstance(part, str)]


class Schema(Strict):
    """The schema of `response_format`."""

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class Format(Strict):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Format":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema comes with the type json_schema, and with no other")
        return self

    def grammar(self) -> Grammar | None:
        if self.type == "text":
            return None
        schema = {"type": "object"} if self.json_schema is None else self.json_schema.schema_
        try:
            return Grammar.of_schema(json.dumps(schema))
        except EdgeError as error:
            raise FieldError("response_format", error.problem, fix=error.fix) from None


class StreamOptions(Strict):
    """Whether the last piece says how many tokens there were."""

    include_usage: bool = False
    include_obfuscation: Annotated[Any, Inert("nothing is added to pieces")] = None


class Ask(Strict):
    """What chat and completion share."""

    PROMPT: ClassVar[str]  # the field that holds it
    GOES_ON: ClassVar[bool] = False  # whether the answer is the rest of the prompt's text

    model: str = Field(max_length=256)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1, le=1 << 20)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63)
    stop: Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: Format | None = None
    n: Annotated[Any, Only(1, instead=_ONE)] = None
    frequency_penalty: Annotated[Any, Only(0, instead=_PENALTY)] = None
    presence_penalty: Annotated[Any, Only(0, instead=_PENALTY)] = None
    logit_bias: Annotated[Any, Only({}, instead=_BIAS)] = None
    user: Annotated[Any, Inert(_TELLS)] = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if not isinstance(value, str | list):
            raise ValueError("it should be a text, or a list of texts")
        return [value] if isinstance(value, str) else value

    @field_validator("temperature", "top_p", "min_p", mode="before")
    @classmethod
    def _float(cls, value: object) -> object:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @abstractmethod
    def ids(self, model: Model) -> list[int]:
        """The prompt as the model reads it."""

    def asked(self, model: Model, longest: int) -> Asked:
        """The prompt, and how its answer is made. It may render a template and try a grammar.

        `longest`: tokens that an answer may have.
        """
        wish, ids = self.wish(longest), self.ids(model)
        refuse_long(self.PROMPT, ids, model)
        return Asked(ids, wish, self.before(model))

    def before(self, model: Model) -> Callable[[], list[int] | None]:
        """What is done in the prompt's turn, before it is read; the prompt, where only that tells it."""
        return lambda: None if model.sight is None else model.sight.show([])

    def wish(self, longest: int) -> Wish:
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
        )
        tokens = self._tokens(longest)
        grammar = None if self.response_format is None else self.response_format.grammar()
        return Wish(
            max_tokens=tokens,
            sampling=sampling,
            stops=tuple(self.stop or ()),
            grammar=grammar,
            goes_on=self.GOES_ON,
        )

    def _tokens(self, longest: int) -> int:
        named = {"max_tokens": self.max_tokens, "max_completion_tokens": self.max_completion_tokens}
        given = {name: tokens for name, tokens in named.items() if tokens is not None}
        if len(set(given.values())) > 1:
            problem = "max_completion_tokens is another number"
            raise FieldError("max_tokens", problem, fix="send one of them")
        for name, tokens in given.items():
            if tokens > longest:
                problem = f"it is {tokens}, but this server's answers have at most {longest} tokens"
                raise FieldError(name, problem, fix=f"ask for {longest} or fewer")
        return next(iter(given.values()), longest)


def refuse_long(field: str, ids: list[int], model: Model) -> None:
    """A prompt that does not fit."""
    most = model.decoder.capacity
    if len(ids) > most:
        raise FieldError(
            field,
            f"there are {len(ids)} tokens, and {most} fit",
            fix="shorten it",
            code="context_length_exceeded",
        )


class AudioAsk(Strict):
    """How an answer is heard."""

    format: str = Field(max_length=64)
    voice: VoiceAsk = VoiceAsk(id=DEFAULT)

    @property
    def encoding(self) -> str:
        """By the name that `edge.audio.encoding` has for it."""
        return {"pcm16": "pcm"}.get(self.format, self.format)


class ChatAsk(Ask):
    """A conversation to continue."""

    PROMPT = "messages"

    messages: list[Turn] = Field(min_length=1, max_length=1024)
    modalities: list[Literal["text", "audio"]] = Field(default=["text"], max_length=4)
    audio: AudioAsk | None = None
    regions: bool = False
    function_call: Annotated[Any, Only("none", "auto", instead=_TOOLS)] = None
    functions: Annotated[Any, Only([], instead=_TOOLS)] = None
    logprobs: Annotated[Any, Only(False, instead=_CHANCES)] = None
    metadata: Annotated[Any, Inert(_TELLS)] = None
    moderation: Annotated[Any, Only(instead="nothing is moderated here: leave it out")] = None
    parallel_tool_calls: Annotated[Any, Inert("models call no tools here")] = None
    prediction: Annotated[Any, Inert("a guess changes how fast an answer is, not what it says")] = (
        None
    )
    prompt_cache_key: Annotated[Any, Inert(_CACHE)] = None
    prompt_cache_options: Annotated[Any, Inert(_CACHE)] = None
    prompt_cache_retention: Annotated[Any, Inert(_CACHE)] = None
    reasoning_effort: Annotated[
        Any, Only("none", instead="models do not reason apart here: leave it out, or send none")
    ] = None
    safety_identifier: Annotated[Any, Inert(_TELLS)] = None
    service_tier: Annotated[
        Any, Only("auto", "default", instead="there is one tier here: leave it out")
    ] = None
    store: Annotated[Any, Only(False, instead="nothing is stored here: leave it out")] = None
    tool_choice: Annotated[Any, Only("none", "auto", instead=_TOOLS)] = None
    tools: Annotated[Any, Only([], instead=_TOOLS)] = None
    top_logprobs: Annotated[Any, Only(0, instead=_CHANCES)] = None
    verbosity: Annotated[
        Any, Only("medium", instead="say in a message how long the answer should be")
    ] = None
    web_search_options: Annotated[Any, Only(instead="nothing is searched: leave it out")] = None

    def sound(self, *, speaks: bool) -> AudioAsk | None:
        """How it is heard, where it is to be heard. `speaks`: whether there is a model that does."""
        named = {"modalities": "audio" in self.modalities, "audio": self.audio is not None}
        wanted = [field for field, given in named.items() if given]
        if wanted and not speaks:
            problem = "no model here speaks: answers are text alone"
            raise FieldError(wanted[0], problem, fix="leave it out, or serve with --speak MODEL")
        if "text" not in self.modalities:
            raise FieldError("modalities", "an answer is text, and audio besides", fix="name both")
        if len(wanted) == 1:
            missing = ({*named} - {*wanted}).pop()
            problem = "modalities name audio, and audio says its format and voice"
            raise FieldError(missing, problem, fix="send both of them")
        return self.audio

    def ids(self, model: Model) -> list[int]:
        if model.template is None:
            raise EdgeError(
                "this model has no chat template: it only continues text",
                fix="send a prompt to /v1/completions",
            )
        if model.pointing is not None:
            self._pointed(model.pointing)  # refuses what is no picture before its turn
            return []
        if self.regions:
            problem = "this model points at no regions"
            raise FieldError("regions", problem, fix="leave it out, or serve one that does")
        return model.encode([turn.message(model.sight) for turn in self.messages])

    def _pointed(self, pointing: Pointing) -> tuple[int, Shown, Picture]:
        """Which turn shows the one picture that a conversation with a model that points is about, and it."""
        every = [(i, one) for i, turn in enumerate(self.messages) for one in turn.pictures()]
        if len(every) != 1:
            raise FieldError(
                "messages",
                f"there are {len(every)} pictures, and this model answers about one",
                fix="send one, as a part of the type image_url",
            )
        ((at, one),) = every
        (picture,) = opened([one])
        try:
            fit(one.boxes, picture.width, picture.height, most=pointing.most)
        except EdgeError as error:
            raise FieldError("messages", error.problem, fix=error.fix) from None
        return at, one, picture

    def _told(self, model: Model) -> list[int]:
        """The prompt, once the picture was looked at."""
        assert model.pointing is not None, "it points"
        at, one, picture = self._pointed(model.pointing)
        turns = [turn.said() for turn in self.messages]
        last = turns[-1]
        if self.regions and not any(mark in last.content for mark in (GROUND, PHRASE)):
            turns[-1] = Message(last.role, f"{GROUND} {last.content}")
        ids = model.pointing.told(turns, picture, one.boxes, at)
        refuse_long(self.PROMPT, ids, model)
        return ids

    def before(self, model: Model) -> Callable[[], list[int] | None]:
        if model.pointing is not None:
            return partial(self._told, model)
        pictures = [one for turn in self.messages for one in turn.pictures()]
        return lambda: None if model.sight is None else show(model.sight, pictures)


class CompletionAsk(Ask):
    """A text to continue."""

    PROMPT = "prompt"
    GOES_ON = True

    prompt: str = Field(max_length=TEXT)
    best_of: Annotated[Any, Only(1, instead=_ONE)] = None
    echo: Annotated[Any, Only(False, instead="put the prompt before the answer yourself")] = None
    logprobs: Annotated[Any, Only(instead=_CHANCES)] = None
    suffix: Annotated[Any, Only("", instead="text is only continued here: leave it out")] = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _alone(cls, value: object) -> object:
        """Some clients send a list even of one prompt."""
        if not isinstance(value, list):
            return value
        if len(value) == 1 and isinstance(value[0], str):
            return value[0]
        raise ValueError("one text a request, no token ids: send each text in a request of its own")

    def ids(self, model: Model) -> list[int]:
        if model.pointing is not None:
            raise FieldError(
                "prompt",
                "this model answers about a picture",
                fix="send it to /v1/chat/completions",
            )
        return model.tokenizer.encode(self.prompt, special=True)
