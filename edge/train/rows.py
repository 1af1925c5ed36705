"""What a decoder learns from: rows of some kind, which a recipe has under that name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from edge.data.rows import Stage
from edge.errors import EdgeError
from edge.train.fields import SMALL, built, check, table


class Rows(ABC):
    """Rows of one kind. `finite`: whether there are so many and no more."""

    __slots__ = ()
    finite: ClassVar[bool] = False

    @classmethod
    def of_table(cls, raw: object, where: str) -> Self:
        """From a recipe's table; what is wrong in it is a ValueError or a TypeError."""
        return built(cls, raw, where, most=SMALL)

    @abstractmethod
    def sizes(self) -> list[tuple[int, int]]:
        """Length in tokens and number of the rows of a batch; of every stage, where there are some."""

    @abstractmethod
    def reading(self, files: Sequence[str]) -> Self:
        """The same of other files, if there are any; refused where none are read, or none are named."""

    @abstractmethod
    def check(self, *, scratch: bool) -> None:
        """A ValueError where they do not fit a model that is trained from scratch, or one that goes on."""

    @property
    def vocabulary(self) -> str | None:
        """The checkpoint whose tokenizer a model from scratch takes; None: the rows bring their own."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What a token of each part counts in the loss."""

    scaffold: float
    story: float
    answer: float
    echo: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stories(Rows):
    """Stories of the small world and questions about them, made as they are needed, by stages that follow one
    another.
    """

    weights: Weights
    stages: tuple[Stage, ...]
    review: float = 0.0  # share of steps on stages that were left behind

    @classmethod
    def of_table(cls, raw: object, where: str) -> Self:
        given = table(raw, where)
        stages = given.get("stages")
        if not isinstance(stages, list) or not stages:
            raise ValueError("stages is no list")
        rest = {key: value for key, value in given.items() if key not in ("stages", "weights")}
        check(cls, rest, where)
        return cls(
            **rest,
            weights=built(Weights, given.get("weights"), "weights"),
            stages=tuple(built(Stage, one, f"stages[{i}]") for i, one in enumerate(stages)),
        )

    def sizes(self) -> list[tuple[int, int]]:
        return [(stage.length, stage.batch) for stage in self.stages]

    def reading(self, files: Sequence[str]) -> Self:
        if files:
            raise EdgeError(
                "this recipe trains on stories that it makes, on no data", fix="leave out --data"
            )
        return self

    def check(self, *, scratch: bool) -> None:
        """They are told in tokens that a model from scratch takes from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text(Rows):
    """Texts, packed into rows: files of text or of JSON lines, or folders of them."""

    length: int
    batch: int
    files: tuple[str, ...] = ()  # or those that --data names
    tokenizer: str | None = None  # a checkpoint that has one; for a model from scratch alone

    def sizes(self) -> list[tuple[int, int]]:
        return [(self.length, self.batch)]

    def reading(self, files: Sequence[str]) -> Self:
        return replace(self, files=_named(tuple(files) or self.files))

    def check(self, *, scratch: bool) -> None:
        _check_tokenizer("text", self.tokenizer, scratch=scratch)

    @property
    def vocabulary(self) -> str | None:
        return self.tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Chats(Rows):
    """Conversations, one a row: files of JSON objects, one a line, or folders of *.jsonl files. What the assistant says
    is learned, up to the token that ends its turn.
    """

    finite: ClassVar[bool] = True
    length: int  # of the longest row
    batch: int
    files: tuple[str, ...] = ()  # or those that --data names
    tokenizer: str | None = (
        None  # a checkpoint that has one, and a template; for a model from scratch alone
    )
    longer: Literal["cut", "drop"] = (
        "cut"  # what becomes of a conversation that is longer than a row
    )

    def sizes(self) -> list[tuple[int, int]]:
        return [(self.length, self.batch)]

    def reading(self, files: Sequence[str]) -> Self:
        return replace(self, files=_named(tuple(files) or self.files))

    def check(self, *, scratch: bool) -> None:
        _check_tokenizer("chats", self.tokenizer, scratch=scratch)

    @property
    def vocabulary(self) -> str | None:
        return self.tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs(Rows):
    """Pairs of answers to the same, of which one is liked better (DPO, arXiv 2305.18290): files as of conversations. A
    batch has so many pairs, of two rows each.
    """

    finite: ClassVar[bool] = True
    length: int  # of the longest row
    batch: int
    beta: float  # how much an answer's log-probability, beyond the start's, counts as a reward
    files: tuple[str, ...] = ()  # or those that --data names
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    longer: Literal["cut", "drop"] = "drop"

    def __post_init__(self) -> None:
        if not self.beta:
            raise ValueError("pairs: beta is 0, so that nothing would be learned")

    def sizes(self) -> list[tuple[int, int]]:
        return [(self.length, self.batch)]

    def reading(self, files: Sequence[str]) -> Self:
        return replace(self, files=_named(tuple(files) or self.files))

    def check(self, *, scratch: bool) -> None:
        if scratch:
            raise ValueError("pairs are learned from a start, which they are measured against")


KINDS: Mapping[str, type[Rows]] = {"stories": Stories, "text": Text, "chats": Chats, "pairs": Pairs}


def rows_of(raw: Mapping[str, object]) -> tuple[str, Rows]:
    """The kind of a recipe's rows, and they themselves."""
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        raise ValueError(f"it needs one of {', '.join(KINDS)}: what it learns from")
    return kinds[0], KINDS[kinds[0]].of_table(raw[kinds[0]], kinds[0])


def _check_tokenizer(name: str, tokenizer: str | None, *, scratch: bool) -> None:
    if scratch != (tokenizer is not None):
        raise ValueError(f"{name}: tokenizer is for a shape, and needed there; a start has its own")


def _named(files: tuple[str, ...]) -> tuple[str, ...]:
    if not files:
        raise EdgeError("this recipe names no data to train on", fix="give --data FILE")
    return files
