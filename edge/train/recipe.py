"""A training recipe: a YAML file, read into frozen numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from edge.errors import EdgeError
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope
from edge.train.rows import Stage

LIMIT = 64 << 10  # bytes
_MOST = 1 << 40
T = TypeVar("T")
EXAMPLE = Path(__file__).parent / "recipes" / "stories.yaml"


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
    """Layer dropout and early-exit loss (arXiv 2404.16710)."""

    dropout: float  # p_max: what the last layer reaches at the end of training
    exit_scale: float  # e_scale at the end: it grows with p, since what is deep must form first
    exit_every: int  # R: each step trains every R-th exit, in rotation


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What a token of each part counts in the loss."""

    scaffold: float
    story: float
    answer: float
    echo: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Learning rates: Muon's for the matrices of the layers, Adam's for embedding and norms."""

    matrix: float
    other: float
    shrink: float  # weight decay of the matrices, relative to their rate
    warmup: int  # tokens
    decay: float  # the last share of all tokens, over which rates fall to nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that decides a run."""

    seed: int
    tokens: int
    shape: Shape
    skip: Skip
    weights: Weights
    rates: Rates
    review: float  # share of steps on stages that were left behind
    stages: tuple[Stage, ...]


_PARTS: Mapping[str, type] = {"shape": Shape, "skip": Skip, "weights": Weights, "rates": Rates}


def read(path: Path) -> Recipe:
    """Read a recipe; what is unknown, missing or out of range is an error that names it."""
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"it has more than {LIMIT >> 10} KiB")
        return _recipe(_table(_Loader(path.read_text(encoding="utf-8")).get_single_data(), "it"))
    except FileNotFoundError:
        raise EdgeError(f"there is no recipe {path}", fix=f"start from {EXAMPLE}") from None
    except (yaml.YAMLError, OSError, ValueError, TypeError, RecursionError) as error:
        problem = f"{path} is not a training recipe: {error}"
        raise EdgeError(problem, fix=f"compare it with {EXAMPLE}") from error


class _Loader(yaml.SafeLoader):
    """Plain values only. An alias repeats what is above it: nine of nine of nine fill any memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*), which a recipe needs nowhere")
        return super().compose_node(parent, index)


def _recipe(raw: Mapping[str, object]) -> Recipe:
    stages = raw.get("stages")
    if not isinstance(stages, list) or not stages:
        raise ValueError("stages is no list")
    given: dict[str, Any] = {key: raw[key] for key in raw if key not in ("stages", *_PARTS)}
    parts: dict[str, Any] = {key: _made(kind, raw.get(key), key) for key, kind in _PARTS.items()}
    made = tuple(_made(Stage, stage, f"stages[{i}]") for i, stage in enumerate(stages))
    _check(Recipe, given, "it")
    return Recipe(**given, **parts, stages=made)


def _made(kind: type[T], raw: object, where: str) -> T:
    table = _table(raw, where)
    _check(kind, table, where)
    return kind(**table)


def _check(kind: type, table: Mapping[str, object], where: str) -> None:
    """Every field that is given is a number of its type, in a range that no honest recipe leaves."""
    for field in fields(kind):
        value = table.get(field.name)
        if field.name not in table or field.type not in (int, float):
            continue
        allowed = int if field.type is int else (int, float)
        low = 1 if field.type is int and field.name not in ("seed", "warmup") else 0
        high = 1 << 20 if kind is Shape else _MOST
        if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
            raise ValueError(
                f"{where}: {field.name} is {value!r:.40}, no number from {low} to {high}"
            )


def _table(raw: object, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise TypeError(f"{where} is no table")
    return raw
