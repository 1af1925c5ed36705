"""A recipe of a network that is no decoder: it goes on from a checkpoint, on examples and by a loss that the recipe
names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.train.fields import SMALL, built, check, read_as
from edge.train.recipe import Rates

Loss = Literal["cross-entropy", "binary-cross-entropy", "squared", "absolute"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExamplesTable:
    """`batch` at a time, `seen` in all. `labels`: the model's own; or new ones, those that the data names, for which
    it gets a head of zeros. `output`: its only one, if not said.
    """

    loss: Loss
    batch: int
    seen: int
    labels: Literal["own", "new"] = "own"
    output: str | None = None
    files: tuple[str, ...] = ()  # or those that --data names


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRecipe:
    """`still`: patterns of weights that stay as they are, such as `layers.*`; warm-up counts examples."""

    seed: int
    examples: ExamplesTable
    rates: Rates
    start: str | None = None  # or that of --start
    still: tuple[str, ...] = ()
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        if self.examples.batch % self.splits:
            raise ValueError(f"a batch of {self.examples.batch} has no {self.splits} equal splits")


def read(path: Path) -> NetworkRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> NetworkRecipe:
    parts: dict[str, Any] = {
        "examples": built(ExamplesTable, raw.get("examples"), "examples"),
        "rates": built(Rates, raw.get("rates"), "rates"),
    }
    if parts["examples"].batch > SMALL:
        raise ValueError(f"examples: batch is {parts['examples'].batch}, above {SMALL}")
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in raw.items()
        if key not in parts
    }
    check(NetworkRecipe, {key: raw[key] for key in given}, "it")
    return NetworkRecipe(**given, **parts)
