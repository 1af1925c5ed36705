"""A recipe of a vocoder from nothing: sound from the mel bands that `edge.audio.spectra` names (Vocos, arXiv
2306.00814). It learns from spectra alone; then also from an adversary, which learns to tell what it makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge.audio.spectra import MELS, Mel
from edge.data.utterances import FRAMING
from edge.files.config import Config
from edge.train.fields import SMALL, built, check, read_as
from edge.train.network_origin import NetworkOrigin, unwritten
from edge.train.recipe import Average, Rates

_LEAST = 8  # frames of a crop: a window of the mel bands needs more sound than it reflects
_OFTEN = 4  # windows begin a quarter of one apart


@dataclass(frozen=True, kw_only=True, slots=True)
class VocoderShape:
    """Of a Vocos whose frames are those of the mel bands `mel`, and of prepared speech."""

    width: int
    ffn_width: int
    layers: int
    mel: str = "edge"

    def __post_init__(self) -> None:
        known = [name for name, mel in MELS.items() if mel.framing == FRAMING]
        if self.mel not in known:
            raise ValueError(
                f"vocoder: mel is {self.mel!r:.40}, none of {', '.join(known)}: prepared speech has "
                f"{FRAMING.rate:,} samples a second, {FRAMING.hop} a frame"
            )

    @property
    def bands(self) -> Mel:
        return MELS[self.mel]

    def origin(self) -> NetworkOrigin:
        """The checkpoint that a run writes."""
        framing = self.bands.framing
        config = {
            "model_type": "vocos",
            "input_channels": self.bands.bands,
            "dim": self.width,
            "intermediate_dim": self.ffn_width,
            "num_layers": self.layers,
            "n_fft": framing.window,
            "hop_length": framing.hop,
            "padding": framing.padding,
            "sampling_rate": framing.rate,
        }
        return unwritten(Config(config, "config.json"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Crops:
    """`batch` at a time, `seen` in all, each of so many frames. `louder`: each is up to so many dB louder or softer."""

    frames: int
    batch: int
    seen: int
    louder: float = 0.0

    def __post_init__(self) -> None:
        if self.frames < _LEAST or self.louder > 40:
            raise ValueError(f"crops: at least {_LEAST} frames, at most 40 dB louder")


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What sound costs that is not its original. `mel`: log mel bands; `spectra`: spectra of these `windows`, in
    samples, each a quarter of itself after the one before (arXiv 1910.11480).
    """

    mel: float
    spectra: float
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048)

    def __post_init__(self) -> None:
        if any(window % _OFTEN or window > 1 << 14 for window in self.windows):
            raise ValueError(f"costs: windows are multiples of {_OFTEN}, at most 16,384")
        if not self.mel + self.spectra:
            raise ValueError("costs: neither mel nor spectra cost anything")


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversary:
    """Networks that judge sound as a comb of every `periods`-th sample (arXiv 2010.05646), and by its spectra of these
    `windows` (arXiv 2210.13438), `width` channels at first. `after`: the share of the run without it. `weight`: what
    its opinion counts; `features`: what it counts that they see something else; `rate`: at which they learn.
    """

    after: float
    width: int
    rate: float
    weight: float = 1.0
    features: float = 2.0
    loss: Literal["squares", "hinge"] = "squares"
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (256, 512, 1024)

    def __post_init__(self) -> None:
        if self.after > 1:
            raise ValueError(f"adversary: after is {self.after}, no share")
        if any(window % _OFTEN or not 16 <= window <= 1 << 14 for window in self.windows):
            raise ValueError(f"adversary: windows are multiples of {_OFTEN} from 16 to 16,384")
        if len(set(self.periods)) < len(self.periods) or max(self.periods) > 64:
            raise ValueError("adversary: periods differ, and are at most 64")
        if len(set(self.windows)) < len(self.windows):
            raise ValueError("adversary: windows differ")


@dataclass(frozen=True, kw_only=True, slots=True)
class VocoderRecipe:
    """All that decides a run. A batch falls into `splits` equal parts; warm-up counts crops. What is written is the
    mean of its last checkpoints, where there is an `average`.
    """

    seed: int
    vocoder: VocoderShape
    crops: Crops
    costs: Costs
    rates: Rates
    adversary: Adversary | None = None
    average: Average | None = None
    splits: int = 1
    precision: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        if self.crops.batch % self.splits:
            raise ValueError(f"a batch of {self.crops.batch} has no {self.splits} equal splits")
        length = self.crops.frames * self.vocoder.bands.framing.hop
        windows = (*self.costs.windows, *(self.adversary.windows if self.adversary else ()))
        if max(*windows, self.vocoder.bands.transform) > length:
            raise ValueError(
                f"crops of {length} samples are shorter than a window of {max(windows)}"
            )

    def opposed(self, crops: int) -> bool:
        """Whether the adversary is there once so many crops were seen."""
        return self.adversary is not None and crops >= self._after(self.adversary)

    def answers(self, crops: int) -> int:
        """How many updates the adversary has had by then."""
        assert self.adversary is not None, "there is one"
        first = -(-self._after(self.adversary) // self.crops.batch)
        return max(0, crops // self.crops.batch - first)

    def _after(self, adversary: Adversary) -> int:
        return round(adversary.after * self.crops.seen)


_PARTS: Mapping[str, type] = {
    "vocoder": VocoderShape,
    "crops": Crops,
    "costs": Costs,
    "rates": Rates,
    "adversary": Adversary,
    "average": Average,
}
_WANTED = ("vocoder", "crops", "costs", "rates")


def read(path: Path) -> VocoderRecipe:
    return read_as(path, of_table)


def of_table(raw: Mapping[str, Any]) -> VocoderRecipe:
    parts: dict[str, Any] = {
        key: built(kind, raw.get(key), key, **({"most": SMALL} if kind is VocoderShape else {}))
        for key, kind in _PARTS.items()
        if key in raw or key in _WANTED
    }
    given = {key: value for key, value in raw.items() if key not in parts}
    check(VocoderRecipe, given, "it")
    return VocoderRecipe(**given, **parts)
