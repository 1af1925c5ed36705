"""A look at what a run can do, every so many steps: a line of `curves.jsonl`, their picture, and held-out sentences as
sound through the vocoder that the recipe names, or as log mel bands without one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from edge.audio.spectra import MELS
from edge.audio.wav import WavWriter
from edge.measure import curves
from edge.nn.networks import define
from edge.train.speech.batches import Example, padded
from edge.train.speech.model import Joined, SpeechModel
from edge.train.speech.recipe import ConsistencyTable
from edge.typing import F32
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.speech.consistency import drawn, learned
from edge_runtimes.torch.speech.networks import Batch, Networks
from edge_runtimes.torch.speech.speaking import SEED, resaid, said

LINES, PICTURE, SAMPLES = "curves.jsonl", "curves.svg", "samples"
SPOKEN = 3  # sentences
_SHOWN = ("consistency", "duration", "pitch", "one step", "two steps", "balance", "told apart")
_PIECE = 512  # frames that a vocoder is given at a time, and around them
_AROUND = 16


class Looks:
    """`examples`: of held-out rows, whole, each with a prompt."""

    def __init__(
        self, out: Path, model: SpeechModel, networks: Networks, examples: Sequence[Example],
        table: ConsistencyTable, device: torch.device,
    ) -> None:  # fmt: skip
        self._out, self._model, self._networks = out, model, networks
        self._examples, self._table, self._device = examples, table, device
        vocoder = model.joined.get("vocoder")
        self._vocoder = None if vocoder is None else Vocoder(vocoder, device)

    def look(self, step: int, told: Mapping[str, float]) -> None:
        """Of a run that was stopped, what was seen after this step is seen again."""
        self._out.mkdir(parents=True, exist_ok=True)
        lines = [line for line in self._lines() if line["step"] < step]
        lines.append({"step": step, **_rounded(told), **self.measured()})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self._out / LINES).write_text(text, encoding="utf-8")
        picture = curves.svg(lines, _SHOWN, "Held-out sentences")
        (self._out / PICTURE).write_text(picture, encoding="utf-8")
        for number, example in enumerate(self._examples[:SPOKEN]):
            self._write(f"{step:07}-{number}", said(self._networks, example, self._device))

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Costs as in the last step of stage 1, and how far a frame's log mel bands are from those that were spoken
        there, in nepers, when one step makes them by the same durations and pitch, or two.
        """
        sums: dict[str, float] = {}
        for number, example in enumerate(self._examples):
            batch = Batch.of(padded([example]), self._device)

            def draw(_: int, seed: int = number) -> np.random.Generator:
                return np.random.default_rng((SEED, seed))

            noise = drawn(
                self._table, self._table.steps - 1, batch.latent.shape, draw, self._device
            )
            found = {
                name: float(cost.sum())
                for name, cost in learned(self._networks, self._table, batch, noise).costs.items()
            }
            seen = self._networks.seen(batch)
            for steps, name in ((1, "one step"), (2, "two steps")):
                made = resaid(self._networks, batch, seen, steps=steps)[0]
                found[name] = float(np.abs(made - example.latent).mean()) * self._model.scale
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value / len(self._examples)
        return _rounded(sums)

    def _lines(self) -> list[dict[str, float]]:
        file = self._out / LINES
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def _write(self, name: str, latent: F32) -> None:
        mel = latent * np.float32(self._model.scale) + np.float32(self._model.mean)
        folder = self._out / SAMPLES
        folder.mkdir(exist_ok=True)
        if self._vocoder is None:
            np.save(folder / f"{name}.npy", mel)
            return
        with (folder / f"{name}.wav").open("wb") as file:
            writer = WavWriter(file, MELS["edge"].framing.rate)
            writer.write(np.clip(self._vocoder.sound(mel), -1, 1))
            writer.close()


class Vocoder:
    """Frames to sound, in pieces that know what is around them."""

    def __init__(self, part: Joined, device: torch.device) -> None:
        weights = {name: torch.from_numpy(weight).to(device) for name, weight in part.weights()}
        self._spec, self._ops = part.spec, TorchNetOps(weights, device=device)
        self._device = device

    @torch.no_grad()
    def sound(self, mel: F32) -> F32:
        """Log mel bands [T, 80] -> samples [200 T]."""
        parts = []
        for start in range(0, len(mel), _PIECE):
            before = min(start, _AROUND)
            given = torch.from_numpy(mel[start - before : start + _PIECE + _AROUND])[None]
            mask = torch.ones(given.shape[:2])
            ports = {"mel": given.to(self._device), "frame_mask": mask.to(self._device)}
            audio = define(self._ops, self._spec, **ports)["audio"][0, before : before + _PIECE]
            parts.append(audio.cpu().numpy().reshape(-1))
        made: F32 = np.concatenate(parts)
        return made


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(number, 5) for name, number in numbers.items()}
