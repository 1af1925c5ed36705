"""A training recipe: a YAML file, read into frozen numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from edge.errors import EdgeError
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope
from edge.train.adapter import AdapterRecipe
from edge.train.fields import SMALL, built, check, read_as
from edge.train.rows import Rows, rows_of

T = TypeVar("T")
Curriculum = Literal["rotational", "gradual", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A decoder whose layers are all alike; its head is its embedding."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    ffn_width: int
    context: int
    theta: float = 10000.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads over {self.kv_heads} do not divide {self.width}")

    def spec(self, vocab: int) -> DecoderSpec:
        head_width = self.width // self.heads
        layer = LayerSpec(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_width=head_width,
            ffn_width=self.ffn_width,
        )
        return DecoderSpec(
            vocab=vocab,
            width=self.width,
            layers=(layer,) * self.layers,
            norm=Norm(eps=self.eps),
            rope=Rope(theta=self.theta, width=head_width),
            context=self.context,
            tied=True,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Layer dropout and early-exit loss (arXiv 2404.16710); `edge.train.curriculum` has the formulas.

    From scratch, dropout grows exponentially from nothing; where training goes on, it is constant.
    """

    dropout: float  # p_max: what the last layer reaches
    exit_scale: float  # e_scale
    curriculum: Curriculum = "rotational"  # which exits a step trains beside the last layer
    exit_every: int | None = None  # R: a rotation has every R-th on
    dropout_growth: Literal["exponential", "constant"] = "exponential"  # S(t)
    exit_growth: Literal["linear", "constant"] = "linear"  # of e_scale: what is deep forms first

    def __post_init__(self) -> None:
        if self.dropout > 1:
            raise ValueError(f"skip: dropout is {self.dropout}, no share")
        if (self.curriculum == "rotational") != (self.exit_every is not None):
            raise ValueError(
                "skip: exit_every belongs to the rotational curriculum, and only there"
            )


NONE = Skip(dropout=0.0, exit_scale=0.0, curriculum="all")  # every layer, and no exit but the last


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Learning rates: one for the matrices of the layers, by Muon or Adam; Adam's for the others."""

    matrix: float
    other: float
    shrink: float  # weight decay of the matrices, relative to their rate
    warmup: float  # tokens; below 1, a share of all
    decay: float  # the last share of all tokens, over which rates fall to nothing
    optimizer: Literal["muon", "adam"] = "muon"  # of the matrices


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """What a run writes is the mean of its `last` checkpoints, with so many tokens between any two; below 1, a share of
    all.
    """

    last: int
    every: float

    def __post_init__(self) -> None:
        if not self.every:
            raise ValueError("average: every is 0, so that all checkpoints are the same")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecipe:
    """All that decides a run, whatever it runs on.

    It is from scratch, of a `shape`, or goes on from the checkpoint `start`. A batch of its rows falls into `splits`
    equal parts, each one forward and backward pass; processes take whole ones, and layer dropout is the same in all.
    """

    seed: int
    rates: Rates
    rows: Rows  # in a file under the name of their kind
    tokens: int | None = None  # that are trained on, in all
    epochs: int | None = None  # or how often all data is, if it has an end
    skip: Skip = NONE
    shape: Shape | None = None
    start: str | None = None  # an id of the registry, or a folder
    splits: int = 1
    precision: Literal["bf16", "fp32"] = (
        "bf16"  # of products where a device has them; weights are float32
    )
    sharded: bool | None = (
        None  # weights over all processes; if not said, where one device is too small for them
    )
    adapter: AdapterRecipe | None = None  # beside frozen weights; without one all weights learn
    average: Average | None = None  # of the last checkpoints; without one the last is written
    recompute: bool = False  # layers and heads anew in the backward pass: less memory, more time

    def __post_init__(self) -> None:
        if (self.shape is None) == (self.start is None):
            raise ValueError("it needs a shape or a start, one of them")
        if (self.tokens is None) == (self.epochs is None):
            raise ValueError("it needs tokens or epochs, one of them")
        if self.adapter is not None:
            self._check_adapter(self.adapter)
        self._check_rows()

    def _check_adapter(self, adapter: AdapterRecipe) -> None:
        if self.start is None:
            raise ValueError("an adapter is of a checkpoint: it needs a start")
        if self.sharded:
            raise ValueError("an adapter's weights are whole in every process: leave out sharded")
        if adapter.dropout and self.skip.dropout:
            raise ValueError("dropout of an adapter and of layers are not trained together")

    def _check_rows(self) -> None:
        if self.epochs is not None and not self.rows.finite:
            raise ValueError("epochs are for chats and pairs; others need tokens")
        self.rows.check(scratch=self.start is None)
        for length, batch in self.rows.sizes():
            if batch % self.splits:
                raise ValueError(f"a batch of {batch} has no {self.splits} equal splits")
            if self.shape is not None and length > self.shape.context:
                raise ValueError(f"rows of {length} tokens in a context of {self.shape.context}")

    def total(self, once: int | None) -> int:
        """Tokens of the whole run; `once`: of all data, if they have an end."""
        if self.tokens is not None:
            return self.tokens
        assert self.epochs is not None
        assert once is not None, "epochs are of data that end"
        return self.epochs * once


_PARTS: Mapping[str, type] = {
    "shape": Shape,
    "skip": Skip,
    "rates": Rates,
    "adapter": AdapterRecipe,
    "average": Average,
}


def read(path: Path) -> TrainingRecipe:
    """Read a recipe; what is unknown, missing or out of range is an error that names it."""
    return read_as(path, of_table)


def changed(recipe: TrainingRecipe, *, start: str | None, data: Sequence[str]) -> TrainingRecipe:
    """The same from another checkpoint, or on other data."""
    if start is not None and recipe.start is None:
        raise EdgeError(
            "this recipe trains a shape from scratch, it goes on from no checkpoint",
            fix="leave out --start, or use the recipe layerskip-continue",
        )
    return replace(recipe, start=start or recipe.start, rows=recipe.rows.reading(data))


def of_table(raw: Mapping[str, object]) -> TrainingRecipe:
    name, rows = rows_of(raw)
    given: dict[str, Any] = {key: raw[key] for key in raw if key not in (name, *_PARTS)}
    parts: dict[str, Any] = {
        key: _part(kind, raw.get(key), key)
        for key, kind in _PARTS.items()
        if key in raw or key == "rates"
    }
    check(TrainingRecipe, given, "it")
    return TrainingRecipe(**given, **parts, rows=rows)


def _part(kind: type[T], raw: object, where: str) -> T:
    return built(kind, raw, where, **({"most": SMALL} if kind is Shape else {}))
