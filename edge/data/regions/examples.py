"""What a model that points learns from, wherever it comes from: a picture, boxes in it, and what is said of them.

A made scene and a line of a user's file are the same here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.text.pointing import GROUND, name
from edge.vision.boxes import Box
from edge.vision.pictures import Picture

_NAMED = re.compile(r"<r([0-9]+)>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """A question and its answer. `referred`: the boxes, by number, that the question's `<box>` stand for, in their
    order; `answer`: with marks, and the boxes by number for regions; `grounded`: whether it was to have any.
    """

    topic: str
    question: str
    answer: str
    referred: tuple[int, ...] = ()
    grounded: bool = False

    @property
    def asked(self) -> str:
        """The question as a model gets it."""
        return f"{GROUND} {self.question}" if self.grounded else self.question


class Example(Protocol):
    """`boxes`: of all that the picture shows, as far as anyone says; `names`: of each what it is, nothing where it has
    an outline and no name.
    """

    @property
    def boxes(self) -> tuple[Box, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def talks(self) -> tuple[Talk, ...]: ...

    def picture(self) -> Picture: ...


def renumbered(answer: str, regions: Sequence[int]) -> str:
    """An answer in which box `k` is the region `regions[k]`."""
    return _NAMED.sub(lambda found: name(regions[int(found[1])]), answer)
