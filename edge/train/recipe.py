"""A training recipe: a YAML file, read into frozen numbers."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from edge.errors import EdgeError
from edge.spec import DecoderSpec, LayerSpec, Norm, Rope
from edge.train.rows import Stage

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


def read(path: Path) -> Recipe:
    """Read a recipe; an unknown or a missing key is an error that names it."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        parts = {"shape": Shape, "skip": Skip, "weights": Weights, "rates": Rates}
        given = {key: parts[key](**value) if key in parts else value for key, value in raw.items()}
        given["stages"] = tuple(Stage(**stage) for stage in raw["stages"])
        return Recipe(**given)
    except FileNotFoundError:
        raise EdgeError(f"there is no recipe {path}", fix=f"start from {EXAMPLE}") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        problem = f"{path} is not a training recipe: {error}"
        raise EdgeError(problem, fix=f"compare it with {EXAMPLE}") from error
