"""A run of a vocoder: crops of speech and their mel bands, what its sound costs, and networks that judge it.

B crops, N samples, T frames, M mel bands.
"""

import json
import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from edge.audio.wav import WavWriter
from edge.errors import EdgeError
from edge.measure import curves
from edge.nn.networks import define
from edge.train.course import LOG, Position
from edge.train.speech.prepared import Prepared
from edge.train.speech.vocoder import VocoderRecipe
from edge.typing import F32, I64
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole
from edge_runtimes.torch.initial import first_weights
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.speech.adversary import (
    PREFIX,
    initial_adversary,
    learned,
    opinions,
    told,
    unlike,
)
from edge_runtimes.torch.speech.spectra import apart, log_mel

_COSTS = ("mel", "spectra", "told", "unlike", "judges")
_SHOWN = 4  # sounds that a run writes while it goes on
_LONGEST = 400  # frames of each


class VocoderRun(Loop):
    """`start`: a checkpoint of the recipe's shape to go on from."""

    unit = "crops"

    def __init__(
        self,
        recipe: VocoderRecipe,
        out: Path,
        *,
        speech: Prepared,
        ranks: Ranks | None = None,
        start: Path | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe, self.speech = recipe, speech
        self.mine = ranks.mine(recipe.splits)
        self.origin = recipe.vocoder.origin()
        self._long, self._before = _places(speech.lengths, recipe.crops.frames)
        weights = first_weights(self.origin.spec, recipe.seed, start, "vocoder")
        if recipe.adversary is not None:
            weights |= dict(initial_adversary(recipe.adversary, recipe.seed))
        held = Whole(weights.items(), ranks)
        super().__init__(
            out,
            ranks=ranks,
            held=held,
            rates=recipe.rates,
            total=recipe.crops.seen,
            average=recipe.average,
        )
        self.judges = {name for name in self.weights if name.startswith(PREFIX)}
        self.makes = self.weights.keys() - self.judges
        ranks.share_threads()

    def start(self) -> Position:
        return Position(texts=self.speech.digest)

    def step(self) -> None:
        """One batch: the judges learn from what is made of it, then the vocoder from them."""
        at = self.at
        at.stage = int(self.recipe.opposed(at.tokens))
        pairs = [(real, self.sound(mel)) for mel, real in map(self.drawn, self.mine)]
        judged = self._judge(pairs) if at.stage else {}
        costs = [self.costs(real, made) for real, made in pairs]
        for each in costs:
            torch.autograd.backward(each["loss"] / self.recipe.splits)
        names = list(costs[0])
        *sums, asked = self.ranks.total(
            *(sum(float(each[name].detach()) for each in costs) for name in names), self.asked
        )
        means = {name: value / self.recipe.splits for name, value in zip(names, sums, strict=True)}
        self.update(means.pop("loss"), still=self.judges)
        self.tell(means | judged)
        self.advance(self.recipe.crops.batch)
        self.stopped = asked > 0

    def drawn(self, split: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The crops of a split of this step: mel bands [B, T, M] and samples [B, N], every second of speech as often
        as any other.
        """
        crops, hop = self.recipe.crops, self.recipe.vocoder.bands.framing.hop
        rng = random.Random(f"{self.recipe.seed}/{self.at.step}/{split}")
        some = []
        for _ in range(crops.batch // self.recipe.splits):
            place = rng.randrange(self._before[-1])
            number = bisect(self._before, place) - 1
            start = (place - self._before[number]) * hop
            samples = self.speech[self._long[number]].samples
            loud = 10 ** (rng.uniform(-crops.louder, crops.louder) / 20)
            some.append(_levelled(samples[start : start + crops.frames * hop], loud))
        real = torch.from_numpy(np.stack(some)).to(self.ranks.device)
        return log_mel(real, self.recipe.vocoder.bands), real

    def sound(self, mel: torch.Tensor) -> torch.Tensor:
        """Mel bands [B, T, M] -> samples [B, N]."""
        ops = TorchNetOps(self._made(), device=self.ranks.device)
        mask = mel.new_ones(mel.shape[:2])
        with self._narrow():
            audio = define(ops, self.origin.spec, mel=mel, frame_mask=mask)["audio"]
        return audio.flatten(1).float()

    def costs(self, real: torch.Tensor, made: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the sound of some crops costs, by name, and in all: `loss`."""
        table, bands = self.recipe.costs, self.recipe.vocoder.bands
        mel = (log_mel(made, bands) - log_mel(real, bands)).abs().mean()
        spectra = torch.stack([apart(made, real, window) for window in table.windows]).mean()
        found = {"mel": mel, "spectra": spectra}
        loss = table.mel * mel + table.spectra * spectra
        adversary = self.recipe.adversary
        if adversary is not None and self.at.stage:
            still = {name: self.weights[name].detach() for name in self.judges}
            with self._narrow():
                with torch.no_grad():
                    right = opinions(still, adversary, real)
                got = opinions(still, adversary, made)
            found |= {"told": told(adversary, got), "unlike": unlike(right, got)}
            loss = loss + adversary.weight * found["told"] + adversary.features * found["unlike"]
        return found | {"loss": loss}

    def sample(self) -> None:
        """The first utterances, as they were recorded and as they sound now; and how costs went."""
        self.log()
        self._draw()
        for number in range(min(_SHOWN, len(self._long))):
            framing = self.recipe.vocoder.bands.framing
            real = self.speech[self._long[number]].samples[: _LONGEST * framing.hop]
            real = real[: len(real) // framing.hop * framing.hop].astype(np.float32)
            with torch.no_grad(), self.averaging.there(self.at.tokens):
                given = torch.from_numpy(real)[None].to(self.ranks.device)
                made = self.sound(log_mel(given, self.recipe.vocoder.bands))[0].cpu().numpy()
            for kind, samples in (("recorded", real), (f"{self.at.tokens:09}", made)):
                self._write(f"{number + 1}-{kind}.wav", samples)

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        with self.averaging.there(self.at.tokens):
            export.write_network(self.out / "model", self.origin, self._made())
        return self.out / "model"

    def _judge(self, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
        """One update of the judges."""
        adversary = self.recipe.adversary
        assert adversary is not None, "there are judges"
        cost = 0.0
        for real, made in pairs:
            with self._narrow():
                found = [opinions(self.weights, adversary, one) for one in (real, made.detach())]
            loss = learned(adversary, *found)
            torch.autograd.backward(loss / self.recipe.splits)
            cost += float(loss.detach())
        (cost,) = self.ranks.total(cost)
        self.oppose(
            cost / self.recipe.splits,
            count=self.recipe.answers(self.at.tokens) + 1,
            rate=adversary.rate,
            still=self.makes,
        )
        return {"judges": cost / self.recipe.splits}

    def _narrow(self) -> torch.autocast:
        """Networks multiply in the recipe's precision; spectra, which losses are made of, always in float32."""
        return narrow(self.ranks.device.type, self.recipe.precision)

    def _made(self) -> Tensors:
        return {name: self.weights[name] for name in self.makes}

    def _draw(self) -> None:
        text = (self.out / LOG).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        flat: list[dict[str, float]] = []
        for line in reversed(lines):  # steps that were done again count once
            if "costs" in line and (not flat or line["step"] < flat[-1]["step"]):
                flat.append({"step": line["step"], **line["costs"]})
        picture = curves.svg(flat[::-1], _COSTS, "What a vocoder's sound costs")
        (self.out / "curves.svg").write_text(picture, encoding="utf-8")

    def _write(self, name: str, samples: F32) -> None:
        (self.out / "samples").mkdir(parents=True, exist_ok=True)
        rate = self.recipe.vocoder.bands.framing.rate
        with (self.out / "samples" / name).open("wb") as file, WavWriter(file, rate) as wav:
            wav.write(samples)


def _places(lengths: I64, frames: int) -> tuple[list[int], list[int]]:
    """The utterances that are long enough for a crop, and how many places before each a crop may begin."""
    long = [number for number, length in enumerate(lengths.tolist()) if length >= frames]
    if not long:
        raise EdgeError(
            f"none of {len(lengths)} utterances lasts the {frames} frames of a crop",
            fix="prepare longer ones, or take fewer `frames` in the recipe's crops",
        )
    counts = (int(lengths[number]) - frames + 1 for number in long)
    return long, list(accumulate(counts, initial=0))


def _levelled(samples: F32, loud: float) -> F32:
    """So much louder, but nowhere beyond full scale."""
    top = float(np.abs(samples).max(initial=0.0))
    return (samples * min(loud, 1 / top if top else loud)).astype(np.float32)
