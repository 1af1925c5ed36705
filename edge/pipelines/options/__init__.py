"""What a user may ask of a pipeline: one file a pipeline, each with a dataclass whose fields are its options. The
command line makes options of them, lists them under their `TITLE`, and refuses them by name where another model is
opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One of them. `low` and `high`: of a number; `letter`: a short name."""

    help: str
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
        every: Callable[[Any], Any] = fields
        values = {f"--{f.name.replace('_', '-')}": getattr(self, f.name) for f in every(self)}
        return {name: value for name, value in values.items() if value is not None}
