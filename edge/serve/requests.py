"""What a client may ask, with a range for every number: a field out of range is refused by name.

Fields that OpenAI's API has and that would change the answer are not ignored: they are refused.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge.decode.grammar import Grammar
from edge.decode.sampling import Sampling
from edge.model import Wish
from edge.text.chat import Message

TOKENS = 16384  # longest answer that can be asked for
TEXT = 1 << 20  # characters of one text


class Strict(BaseModel):
    """No field is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Part(Strict):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str = Field(max_length=TEXT)


class Turn(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] = Field(max_length=TEXT)
    name: str | None = Field(default=None, max_length=64)

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        whole = isinstance(self.content, str)
        text = self.content if whole else "".join(part.text for part in self.content)  # type: ignore[union-attr]
        return Message(role, str(text))


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

    def grammar(self) -> Grammar | None:
        if self.type == "json_schema" and self.json_schema is not None:
            return Grammar.of_schema(json.dumps(self.json_schema.schema_))
        return Grammar.of_schema('{"type": "object"}') if self.type == "json_object" else None


class StreamOptions(Strict):
    """Whether the last piece says how many tokens there were."""

    include_usage: bool = False


class Ask(Strict):
    """What chat and completion share."""

    model: str = Field(max_length=256)
    max_tokens: int | None = Field(default=None, ge=1, le=TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1, le=1 << 20)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63)
    stop: Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=1)
    user: str | None = Field(default=None, max_length=256)
    response_format: Format | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("temperature", "top_p", "min_p", mode="before")
    @classmethod
    def _float(cls, value: object) -> object:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def wish(self, longest: int) -> Wish:
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
        )
        asked = self.max_completion_tokens or self.max_tokens or longest
        grammar = None if self.response_format is None else self.response_format.grammar()
        tokens = min(asked, longest)
        return Wish(
            max_tokens=tokens, sampling=sampling, stops=tuple(self.stop or ()), grammar=grammar
        )


class ChatAsk(Ask):
    """A conversation to continue."""

    messages: list[Turn] = Field(min_length=1, max_length=1024)


class CompletionAsk(Ask):
    """A text to continue."""

    prompt: str = Field(max_length=TEXT)
