"""A recipe of FlashSpeech (arXiv 2404.14700): its networks as the config.json that the checkpoint will have, and three
stages one after the other, of which the later two may be left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from edge.train.fields import SMALL, built, check, read_as, table
from edge.train.recipe import Rates

Norm = Literal["whole", "element"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UtterancesTable:
    """`batch` at a time, each of at most `crop` frames, beside a prompt of `prompt_least` to `prompt_most`."""

    batch: int
    crop: int
    prompt_least: int
    prompt_most: int

    def __post_init__(self) -> None:
        if self.prompt_least > self.prompt_most:
            raise ValueError(
                f"prompts of {self.prompt_least} to {self.prompt_most} frames: turn them round"
            )

    def longest(self) -> "UtterancesTable":
        """The same of whole utterances, beside the longest prompts."""
        return replace(self, crop=SMALL, prompt_least=self.prompt_most)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencyTable:
    """Of `steps`. Intervals of the grid of noise go from `first` to `last`; half of all examples has less noise than
    `middle`, and `deviation` is that of its logarithm. `norm`: pseudo-Huber of a `whole` latent, as the paper writes
    it, or of each `element`, as its public code has it; `threshold`: below it that is a square. `clean`: beside the
    teacher so much of the clean latent itself, which the paper has not.
    """

    steps: int
    first: int = 10
    last: int = 1280
    middle: float = 0.33287108369807955  # exp(-1.1)
    deviation: float = 2.0
    norm: Norm = "whole"
    threshold: float = 0.03
    clean: float = 0.0

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"grids of {self.first} to {self.last} intervals: turn them round")
        if not self.middle or not self.deviation or not self.threshold:
            raise ValueError("middle, deviation and threshold are above zero")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialTable:
    """Of `steps`, every other one the discriminator's, of this `width`. `projection`: it compares with the prompt.
    `share`: of the gradient that balances the consistency's (VQGAN's rule, arXiv 2012.09841), `most` of that rule.
    """

    steps: int
    width: int = 256
    projection: bool = True
    share: float = 0.5
    most: float = 1e4
    rate: float = 1.0  # of the discriminator, beside the others'


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechRecipe:
    """`model`: the checkpoint's config.json. `vocoder`, `recognizer`: checkpoints that are joined to it. `features`:
    the frozen network that the discriminator looks through, the recognizer if not said. `voice`: whose prompt lies in
    the checkpoint, the first if not said. `samples`: steps between two looks at what it can.
    """

    seed: int
    model: Mapping[str, Any]
    utterances: UtterancesTable
    rates: Rates
    consistency: ConsistencyTable
    adversarial: AdversarialTable | None = None
    refinement: ConsistencyTable | None = None
    start: str | None = None
    vocoder: str | None = None
    recognizer: str | None = None
    features: str | None = None
    voice: str | None = None
    samples: int = 1000
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        if self.utterances.batch % self.splits:
            raise ValueError(
                f"a batch of {self.utterances.batch} has no {self.splits} equal splits"
            )
        if self.adversarial is not None and (self.features or self.recognizer) is None:
            raise ValueError(
                "adversarial: it needs features, or a recognizer, that it is judged through"
            )
        if self.refinement is not None and "refiner" not in self.model:
            raise ValueError("refinement: the model has no refiner to learn it")

    @property
    def stages(self) -> tuple[int, int, int]:
        """Steps of each."""
        tables = (self.consistency, self.adversarial, self.refinement)
        return tuple(0 if table is None else table.steps for table in tables)  # type: ignore[return-value]

    @property
    def steps(self) -> int:
        return sum(self.stages)

    def stage(self, step: int) -> tuple[int, int]:
        """Which stage a step is of, and how many of it went before."""
        ends = list(accumulate(self.stages))
        number = next((i for i, end in enumerate(ends) if step < end), len(ends) - 1)
        return number, step - (ends[number] - self.stages[number])

    def span(self, step: int) -> tuple[int, int]:
        """The first step, and the one after the last, over which rates rise and fall: the first two stages are one
        training, of which the second is the end.
        """
        learned = sum(self.stages[:2])
        return (0, learned) if step < learned else (learned, self.steps)


def read(path: Path) -> SpeechRecipe:
    return read_as(path, of_table)


_PARTS: Mapping[str, type] = {
    "utterances": UtterancesTable,
    "rates": Rates,
    "consistency": ConsistencyTable,
    "adversarial": AdversarialTable,
    "refinement": ConsistencyTable,
}
_NEEDED = ("utterances", "rates", "consistency")


def of_table(raw: Mapping[str, Any]) -> SpeechRecipe:
    parts: dict[str, Any] = {
        key: built(kind, raw.get(key), key, most=SMALL << 4)
        for key, kind in _PARTS.items()
        if key in raw or key in _NEEDED
    }
    given = {key: raw[key] for key in raw if key not in (*parts, "model")}
    check(SpeechRecipe, given, "it")
    return SpeechRecipe(**given, **parts, model=table(raw.get("model"), "model"))
