"""What a user may ask of a pipeline: one file a pipeline, each with a dataclass whose fields are its options. The
command line makes options of them, lists them under their `TITLE`, and refuses them by name where another model is
opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args, get_type_hints


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One of them. `low` and `high`: of a number; `letter`: a short name; `name`: if it is not its field's."""

    help: str
    name: str | None = None
    low: float | None = None
    high: float | None = None
    letter: str | None = None


class Asked:
    """A group of options: each of its fields is None where it was not given. `TITLE`: whose they are; `PIPELINE`: its
    name, None of a network alone; `MODEL`: the one that is meant where these options name none.
    """

    __slots__ = ()
    TITLE: ClassVar[str]
    PIPELINE: ClassVar[str | None] = None
    MODEL: ClassVar[str]

    def chooses(self) -> bool:
        """Whether they say by themselves which kind of model is meant."""
        raise NotImplementedError

    def given(self) -> dict[str, Any]:
        """Those that were given, by the names that a user knows."""
        values = {name: getattr(self, field) for field, (name, _) in options(type(self)).items()}
        return {f"--{name}": value for name, value in values.items() if value is not None}


def options(kind: type) -> dict[str, tuple[str, Option]]:
    """Of a group its fields: each one's name on the command line, and what it is."""
    hints = get_type_hints(kind, include_extras=True)
    every: Callable[[Any], Any] = fields
    found = {field.name: get_args(hints[field.name])[1] for field in every(kind)}
    return {name: (one.name or name.replace("_", "-"), one) for name, one in found.items()}
