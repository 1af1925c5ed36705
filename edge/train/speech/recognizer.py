"""A recipe of a recognizer from nothing: phonemes from mel bands, learned by CTC, which wants no times; where times are
known, each frame may say what it is, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.audio.spectra import MELS
from edge.files.config import Config
from edge.text.spoken.symbols import table
from edge.train.fields import SMALL, built, check, read_as
from edge.train.network_origin import NetworkOrigin, unwritten
from edge.train.recipe import Rates


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerShape:
    width: int
    ffn_width: int
    layers: int

    def origin(self) -> NetworkOrigin:
        """The checkpoint that a run writes."""
        config = {
            "model_type": "edge_recognizer",
            "input_channels": MELS["edge"].bands,
            "dim": self.width,
            "intermediate_dim": self.ffn_width,
            "num_layers": self.layers,
            "num_sounds": len(table().symbols),
            "mel": "edge",
            "symbols": "edge-96",
        }
        return unwritten(Config(config, "config.json"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Hearing:
    """`batch` utterances at a time, `seen` in all. `known`: what a frame counts whose symbol is known beside CTC; 0 of
    speech whose durations are guesses. `louder`: each is up to so many nats louder or softer, band by band.
    """

    batch: int
    seen: int
    known: float = 0.0
    louder: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerRecipe:
    """All that decides a run. A batch falls into `splits` equal parts; warm-up counts utterances."""

    seed: int
    recognizer: RecognizerShape
    hearing: Hearing
    rates: Rates
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        if self.hearing.batch % self.splits:
            raise ValueError(f"a batch of {self.hearing.batch} has no {self.splits} equal splits")


_PARTS: Mapping[str, type] = {"recognizer": RecognizerShape, "hearing": Hearing, "rates": Rates}


def read(path: Path) -> RecognizerRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> RecognizerRecipe:
    parts: dict[str, Any] = {
        key: built(kind, raw.get(key), key, **({"most": SMALL} if kind is RecognizerShape else {}))
        for key, kind in _PARTS.items()
    }
    given = {key: value for key, value in raw.items() if key not in parts}
    check(RecognizerRecipe, given, "it")
    return RecognizerRecipe(**given, **parts)
