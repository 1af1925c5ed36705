"""Fields of OpenAI's API that this server does not honour, as data: the values at which they change nothing.

A field says so in its type: `tools: Annotated[Any, Only([], instead="...")] = None`. Whoever wants
the table reads it from there, as the tests and docs/serve.md do.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from edge.errors import EdgeError


class FieldError(EdgeError):
    """A field that its type allows and this server cannot honour. `code`: a word that programs know."""

    def __init__(self, field: str, problem: str, *, fix: str, code: str | None = None) -> None:
        super().__init__(f"{field}: {problem}", fix=fix)
        self.field, self.reason = field, code


class Strict(BaseModel):
    """No field is ignored; null says, as everywhere in this API, that it was not given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: given for name, given in value.items() if given is not None}


@dataclass(frozen=True, slots=True)
class Inert:
    """Any value is taken: none changes the answer."""

    why: str


class Only:
    """The values that change nothing are taken, null among them where a field may be left out; another
    one is refused, with what to do instead.
    """

    def __init__(self, *values: object, instead: str) -> None:
        self.values = values
        self.instead = instead

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._taken)

    def _taken(self, value: object) -> object:
        if not any(_same(value, inert) for inert in self.values):
            raise PydanticCustomError("not_honoured", "{said}", {"said": self.instead})
        return value


def _same(given: object, inert: object) -> bool:
    """Equal as JSON: true is not 1."""
    return isinstance(given, bool) == isinstance(inert, bool) and given == inert
