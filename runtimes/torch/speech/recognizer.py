"""A run of a recognizer: whole utterances, by CTC (Graves et al., ICML 2006), and where times are known by each frame.

B utterances, T frames, M mel bands, P phonemes, V sounds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from edge.audio.alignment import BLANK
from edge.audio.spectra import MELS
from edge.data.examples import Shuffled
from edge.data.utterances import Utterance
from edge.nn.networks import define
from edge.text.spoken.symbols import is_sound
from edge.train.course import Position
from edge.train.speech.prepared import Prepared
from edge.train.speech.recognizer import RecognizerRecipe
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole
from edge_runtimes.torch.initial import first_weights
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.ranks import Ranks

_WINDOW = 16  # batches whose utterances are put together by their lengths


@dataclass(frozen=True, slots=True)
class Batch:
    """mel [B, T, M] and mask [B, T]; of each frame its sound [B, T], BLANK where there is none; all sounds of each
    utterance, one after another, and how many [B]; whether its times are known [B].
    """

    mel: torch.Tensor
    mask: torch.Tensor
    frames: torch.Tensor
    sounds: torch.Tensor
    counts: torch.Tensor
    known: torch.Tensor


class RecognizerRun(Loop):
    """`start`: a checkpoint of the recipe's shape to go on from."""

    unit = "utterances"
    judged = True

    def __init__(
        self,
        recipe: RecognizerRecipe,
        out: Path,
        *,
        speech: Prepared,
        ranks: Ranks | None = None,
        start: Path | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe, self.speech = recipe, speech
        self.mine = ranks.mine(recipe.splits)
        self.origin = recipe.recognizer.origin()
        self._shuffled = Shuffled(len(speech), recipe.seed)
        weights = first_weights(self.origin.spec, recipe.seed, start, "recognizer")
        held = Whole(weights.items(), ranks)
        super().__init__(out, ranks=ranks, held=held, rates=recipe.rates, total=recipe.hearing.seen)
        ranks.share_threads()

    def start(self) -> Position:
        return Position(texts=self.speech.digest)

    def step(self) -> None:
        rows, loss, hits, heard = self.rows(), 0.0, 0.0, 0.0
        each = len(rows) // self.recipe.splits
        for split in self.mine:
            one = self.part(self.batch(rows[split * each : (split + 1) * each], split))
            loss, hits, heard = loss + one[0], hits + one[1], heard + one[2]
        loss, hits, heard, asked = self.ranks.total(loss, hits, heard, self.asked)
        self.update(loss)
        self.advance(self.recipe.hearing.batch)
        self.stopped = asked > 0
        self.remember(self.at.stage, hits / heard)

    def rows(self) -> list[int]:
        """The utterances of this step: those of several steps are parted by their lengths, so that little is padding,
        and those steps come in an order that chance fixes.
        """
        size, step = self.recipe.hearing.batch, self.at.step
        window = step // _WINDOW
        begin = window * _WINDOW * size
        rows = self._shuffled.rows(range(begin, begin + _WINDOW * size))
        rows.sort(key=lambda row: int(self.speech.lengths[row]))
        order = np.random.default_rng([self.recipe.seed, window]).permutation(_WINDOW)
        at = int(order[step % _WINDOW]) * size
        return rows[at : at + size]

    def batch(self, rows: list[int], split: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, self.at.step, split])
        some = [self.speech[row] for row in rows]
        longest = max(int(one.frames.sum()) for one in some)
        louder = self.recipe.hearing.louder
        mel = np.zeros((len(some), longest, MELS["edge"].bands), np.float32)
        mask, frames = np.zeros((2, len(some), longest), np.int64)
        sounds = []
        for row, one in enumerate(some):
            heard, length = sounds_of(one), int(one.frames.sum())
            coloured = rng.uniform(-louder, louder, 4)  # a smooth curve over the bands
            mel[row, :length] = one.mel() + _curve(coloured, mel.shape[2])
            mask[row, :length], frames[row, :length] = 1, np.repeat(heard, one.frames)
            sounds.append(heard[heard != BLANK])
        device = self.ranks.device
        return Batch(
            mel=torch.from_numpy(mel).to(device),
            mask=torch.from_numpy(mask).to(device),
            frames=torch.from_numpy(frames).to(device),
            sounds=torch.from_numpy(np.concatenate(sounds)).to(device),
            counts=torch.tensor([len(one) for one in sounds]).to(device),
            known=torch.tensor([float(one.exact) for one in some]).to(device),
        )

    def part(self, batch: Batch) -> tuple[float, int, int]:
        """Adds the gradients of a batch's part to the weights'; its share of the loss, and frames that are heard
        rightly, of all.
        """
        ops = TorchNetOps(self.held.weights, device=self.ranks.device)
        mask = batch.mask.float()
        with narrow(self.ranks.device.type, self.recipe.precision):
            logits = define(ops, self.origin.spec, mel=batch.mel, frame_mask=mask)["logits"]
        log_probs = logits.float().log_softmax(-1)  # [B, T, V]
        loss = self.losses(log_probs, batch).sum() / self.recipe.hearing.batch
        torch.autograd.backward(loss)
        right = (log_probs.argmax(-1) == batch.frames) & (batch.mask > 0)
        return float(loss.detach()), int(right.sum()), int(batch.mask.sum())

    def losses(self, log_probs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """[B]: of a phoneme in the mean by CTC, and of a frame by what it is, where that is known. What is too short
        for its phonemes costs nothing by CTC.
        """
        lengths = batch.mask.sum(1)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1), batch.sounds, lengths, batch.counts,
            blank=BLANK, reduction="none", zero_infinity=True,
        )  # fmt: skip
        loss = ctc / batch.counts.clamp(min=1)
        if self.recipe.hearing.known:
            each = -log_probs.gather(-1, batch.frames[..., None])[..., 0]
            known = self.recipe.hearing.known * batch.known
            loss = loss + known * (each * batch.mask).sum(1) / lengths
        return loss

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        export.write_network(self.out / "model", self.origin, self.held.own)
        return self.out / "model"


def sounds_of(utterance: Utterance) -> np.ndarray:
    """What each of its symbols sounds like: [P], a mark like nothing."""
    return np.where([is_sound(symbol) for symbol in utterance.symbols], utterance.symbols, BLANK)


def _curve(points: np.ndarray, bands: int) -> np.ndarray:
    at = np.linspace(0, len(points) - 1, bands)
    return np.interp(at, np.arange(len(points)), points).astype(np.float32)
