"""A run of lessons: three networks by their own definitions, each of its own ops, and one loss.

B pictures, N tiles of each, P patches of a tile, R rows of a tile, T tokens, D widths.
"""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from edge.data import lessons
from edge.data.lessons import NOTHING, SLOTS, UNSEEN, Setting
from edge.data.sheets import Kind, alphabet, names
from edge.data.vocabulary import SPACE
from edge.data.writing import Language
from edge.errors import EdgeError
from edge.net import NetSpec
from edge.nn.decoder import embed, head, layers
from edge.nn.networks import networks
from edge.pipelines.internvl import PLACE, placed
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.spec import DecoderSpec
from edge.system import processors
from edge.train.course import Position
from edge.train.lessons import Course, LessonsRecipe
from edge.train.origin import fitting
from edge.train.small_internvl import SmallInternVL, small_internvl
from edge.vision.preparation import INTERNVIT
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole, below
from edge_runtimes.torch.initial import initial, initial_network
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.ops import TorchOps
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.passes import fused
from edge_runtimes.torch.ranks import Ranks

# Weights of training alone: that name what a patch shows; rows of what is no letter, of a letter's place in a row, and
# of a row's line and column in its tile.
LETTERS, NAMES, PLACES, CELLS = "letters/each", "names", "places", "cells"
SLOTTED = "letters/layers.slots"  # a matrix: how a row tells the letter of each slot
_DARK = 0.05  # share of empty patches that count among the others, and what their slots count
_EMPTY = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """tiles [B, N, side, side, 3]; shown [B, N, P, slots]; tokens and answers [B, T + 1]; the first row's place."""

    tiles: torch.Tensor
    shown: torch.Tensor
    tokens: torch.Tensor
    answers: torch.Tensor
    first: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Of one split: gradients by name, the loss, and right answers of all."""

    gradients: Mapping[str, torch.Tensor]
    loss: float
    right: int
    answers: int


class LessonsRun(Loop):
    """`fonts`: of each language; `start`: a checkpoint of the recipe's shape to go on from; `compiled`: as
    `edge_runtimes.torch.passes.Passes` has it.
    """

    unit = "tiles"
    judged = True

    def __init__(
        self,
        recipe: LessonsRecipe,
        out: Path,
        *,
        fonts: Mapping[Language, Sequence[Path]],
        ranks: Ranks | None = None,
        start: Path | None = None,
        compiled: bool | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe, self.fonts = recipe, fonts
        self.mine = ranks.mine(recipe.splits)
        self.model = small_internvl(recipe)
        weights = {
            f"{name}/{own}": weight
            for name, spec in self.model.specs.items()
            for own, weight in _initial(spec, recipe.seed).items()
        }
        if start is not None:
            weights |= _begun(start, self.model)
        wide = recipe.tower.width
        seeded = torch.Generator().manual_seed(recipe.seed)
        weights[LETTERS] = torch.randn(len(lessons.ids()) + 1, wide, generator=seeded) * 0.02
        weights[SLOTTED] = torch.randn(SLOTS * wide, wide, generator=seeded) * wide**-0.5
        narrow = recipe.shape.width
        weights[NAMES] = torch.randn(len(names()), narrow, generator=seeded) * 0.02
        weights[PLACES] = torch.randn(4 * SLOTS, narrow, generator=seeded)
        lines = recipe.tower.side // recipe.tower.patch // 2
        weights[CELLS] = torch.randn(2 * lines, narrow, generator=seeded) * 0.02
        held = Whole(weights.items(), ranks)
        super().__init__(out, ranks=ranks, held=held, rates=recipe.rates, total=recipe.tiles)
        library = tokenizers.Tokenizer.from_str(self.model.texts["tokenizer.json"].decode())
        self._encode = lambda text: list(library.encode(text).ids)
        place = library.token_to_id(PLACE)
        assert place is not None, f"the alphabet has {PLACE}"
        self._place = place
        tokens = [library.token_to_id(letter) for letter in (SPACE, *alphabet())]
        self._tokens = torch.tensor(tokens, device=ranks.device)
        on_cpu = ranks.device.type == "cpu"
        workers = max(1, processors.threads(None) // ranks.here) if on_cpu else 1
        self._compiled = fused(on_cpu) if compiled is None else compiled
        self._pool = ThreadPoolExecutor(min(workers, len(self.mine)))
        if on_cpu:
            torch.set_num_threads(max(1, workers // len(self.mine)))
            # Else attention would compute in float32 whatever it is given: half as fast again.
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)

    def start(self) -> Position:
        return Position()

    def step(self) -> None:
        """One batch, of which each split is drawn and computed by a worker."""
        at = self.at
        at.stage = self.recipe.course(at.tokens)
        course = self.recipe.courses[at.stage]
        # What torch fuses for long rows is slow where they are short.
        with sdpa_kernel(SDPBackend.MATH):
            parts = list(self._pool.map(self.part, self.mine))
        for name, weight in self.weights.items():
            found = [part.gradients[name] for part in parts if name in part.gradients]
            weight.grad = (
                torch.stack(found).sum(0) / self.recipe.splits
                if found
                else torch.zeros_like(weight)
            )
        loss, right, answers, asked = self.ranks.total(
            sum(part.loss for part in parts) / self.recipe.splits,
            sum(part.right for part in parts),
            sum(part.answers for part in parts),
            self.asked,
        )
        still = {name for name in self.weights if not _learns(name, course)}
        self.update(loss, times=self.recipe.rate(at.tokens), still=still)
        at.tokens += course.batch
        self.stopped = asked > 0
        if answers:
            self.remember(at.stage, right / answers)

    def part(self, split: int) -> Part:
        """Draw a split of this step, and compute it."""
        course = self.recipe.courses[self.at.stage]
        rng = random.Random(f"{self.recipe.seed}/{self.at.step}/{split}")
        batch = self.drawn(rng, course, course.batch // self.recipe.splits)
        with narrow(self.ranks.device.type, self.recipe.precision):
            loss, right, answers = self.loss(batch, course, rng.getrandbits(62))
        found = torch.autograd.grad(loss, list(self.weights.values()), allow_unused=True)
        pairs = zip(self.weights, found, strict=True)
        return Part(
            gradients={name: gradient for name, gradient in pairs if gradient is not None},
            loss=float(loss.detach()),
            right=right,
            answers=answers,
        )

    def drawn(self, rng: random.Random, course: Course, tiles: int) -> Batch:
        """Pictures of one kind, language and grid, of so many tiles in all."""
        kind, language, grid = (
            rng.choices(list(odds), list(odds.values()))[0]
            for odds in cast(
                tuple[Mapping[Any, float], ...], (course.kinds, course.languages, course.places())
            )
        )
        tower = self.recipe.tower
        setting = Setting(
            fonts=self.fonts,
            sizes=course.sizes(),
            side=tower.side,
            patch=tower.patch,
            most=tower.most,
            lines=course.lines,
            longest=course.longest,
            blind=course.told,
        )
        count = max(1, tiles // grid.tiles)
        some = [
            lessons.drawn(rng, cast(Kind, kind), cast(Language, language), grid, setting)
            for _ in range(count)
        ]
        rows = grid.tiles * (tower.side // tower.patch // 2) ** 2
        asked = [rng.sample(one.asked, min(course.asked, len(one.asked))) for one in some]
        talks = [lessons.conversation(each, rows, self._encode, placed) for each in asked]
        longest = max(len(ids) for ids, _ in talks)
        tokens, answers = np.zeros((2, count, longest), np.int64)
        for i, (ids, answered) in enumerate(talks):
            tokens[i, : len(ids)], answers[i, : len(ids)] = ids, answered
        device = self.ranks.device
        return Batch(
            tiles=torch.from_numpy(np.stack([one.tiles for one in some])).to(device),
            shown=torch.from_numpy(np.stack([one.shown for one in some])).long().to(device),
            tokens=torch.from_numpy(tokens).to(device),
            answers=torch.from_numpy(answers).bool().to(device),
            first=talks[0][0].index(self._place) if longest else 0,
        )

    def loss(self, batch: Batch, course: Course, seed: int) -> tuple[torch.Tensor, int, int]:
        """The loss of a batch, and how many of its answers are right."""
        shown = batch.shown.flatten(0, 1)
        if course.told:
            return self._answered(self._told(shown), batch, course)
        pixels = _pixels(batch.tiles.flatten(0, 1))
        with torch.set_grad_enabled(not course.frozen):
            features = self._network("vision", image=pixels)["features"]
        total = torch.zeros((), device=shown.device)
        if course.letters:
            total = total + course.letters * self._letters(features[:, 1:], shown, seed)
        if not course.rows and not course.answers:
            return total, 0, 0
        rows = self._network("projector", features=features)["rows"]
        if course.rows:
            with torch.no_grad():
                told = self._told(shown)
            total = total + course.rows * _apart(rows, told, shown)
        loss, right, answers = self._answered(rows, batch, course)
        return total + loss, right, answers

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        weights = {name: self._own(name) for name in self.model.specs}
        export.write_pipeline(self.out / "model", self.model, weights)
        return self.out / "model"

    def _network(self, name: str, **given: torch.Tensor) -> Mapping[str, torch.Tensor]:
        spec = self.model.specs[name]
        assert isinstance(spec, NetSpec)
        ops = TorchNetOps(self._own(name), device=self.ranks.device)
        return networks()[spec.kind].define(ops, spec.config, **given)

    def _letters(self, features: torch.Tensor, shown: torch.Tensor, seed: int) -> torch.Tensor:
        """What each patch shows, named from its row alone: features [N, P, D], shown [N, P, slots]."""
        first = shown[..., 0]
        lit = (first != UNSEEN) & (first != NOTHING)
        seeded = torch.Generator().manual_seed(seed)
        dark = torch.rand(first.shape, generator=seeded).to(first.device) < _DARK
        some = lit | (dark & (first == NOTHING))
        x, wanted = features[some].float(), shown[some]
        x = F.layer_norm(x, x.shape[-1:])
        scores = F.linear(
            F.linear(x, self.weights[SLOTTED]).view(len(x), SLOTS, -1), self.weights[LETTERS]
        )
        each = F.cross_entropy(
            scores.flatten(0, 1).float(), wanted.flatten(), reduction="none"
        ).view(wanted.shape)
        counts = torch.where(wanted == NOTHING, _EMPTY, 1.0)
        return (each * counts).sum() / counts.sum().clamp(min=1)

    def _told(self, shown: torch.Tensor) -> torch.Tensor:
        """The rows of tiles as their letters alone make them, each by its place in its row, and the row's own place:
        shown [N, P, slots] -> [N, R, D]. What is no letter has a row of its own.
        """
        letters = self.weights["text/embed"][self._tokens]
        nothing = torch.zeros_like(letters[:1])
        table = torch.cat([nothing, letters, self.weights[NAMES]])
        found = table[_cells(shown).clamp(min=NOTHING)]  # [N, R, 4 slots, D]
        down, across = self.weights[CELLS].chunk(2)
        return (found * self.weights[PLACES]).sum(2) + (down[:, None] + across).flatten(0, 1)

    def _answered(
        self, rows: torch.Tensor, batch: Batch, course: Course
    ) -> tuple[torch.Tensor, int, int]:
        """The loss of every token of an answer, of rows [B N, R, D] between those of the tokens; nothing
        where nothing is asked.
        """
        if not course.answers or not batch.tokens.numel():
            return rows.new_zeros((), dtype=torch.float32), 0, 0
        rows = rows.reshape(len(batch.tokens), -1, rows.shape[-1])
        whole = self.model.specs["text"]
        assert isinstance(whole, DecoderSpec)
        given, wanted = batch.tokens[:, :-1], batch.tokens[:, 1:]
        spec = fitting(whole, given.shape[1])
        ops = TorchOps(self._own("text"), compiled=self._compiled)
        x, first = embed(ops, spec, given), batch.first
        x = torch.cat([x[:, :first], rows.to(x.dtype), x[:, first + rows.shape[1] :]], dim=1)
        x, d = layers(
            ops, spec, x, None, ops.rope(spec.rope, spec.context), start=0, stop=len(spec.layers)
        )
        told = batch.answers[:, 1:]
        scores = head(ops, spec, x[told], None if d is None else d[told]).float()
        loss = F.cross_entropy(scores, wanted[told])
        wrong = torch.zeros_like(told)
        wrong[told] = scores.argmax(-1) != wanted[told]
        return course.answers * loss, *judged(told, wrong)

    def _own(self, name: str) -> Tensors:
        return below(self.weights, name)


def _learns(name: str, course: Course) -> bool:
    """Whether a weight has a part in what this course asks. One that has none would otherwise shrink."""
    if name in (LETTERS, SLOTTED):
        return bool(course.letters)
    if name in (NAMES, PLACES, CELLS):
        return course.told
    network = name.partition("/")[0]
    if network == "text":
        return bool(course.answers)
    if network == "vision":
        return not course.told and not course.frozen
    return not course.told and bool(course.rows or course.answers)


def _initial(spec: Any, seed: int) -> Tensors:
    return initial(spec, seed) if isinstance(spec, DecoderSpec) else initial_network(spec, seed)


def _begun(folder: Path, model: SmallInternVL) -> Tensors:
    """The weights of a checkpoint of the same networks, whose tokens are the same letters."""
    tokenizer = folder / "tokenizer.json"
    alike = tokenizer.is_file() and tokenizer.read_bytes() == model.texts[tokenizer.name]
    found: Tensors = {}
    for name, spec in model.specs.items():
        with Checkpoint.open(folder, stage=name) as checkpoint:
            if checkpoint.spec != spec or not alike:
                raise EdgeError(
                    f"{folder} is not of the recipe's shape and alphabet",
                    fix="leave out --start, or name a checkpoint that this recipe made",
                )
            found |= {
                f"{name}/{own}": torch.from_numpy(whole(checkpoint, own))
                for own in checkpoint.places
            }
    return found


def _pixels(tiles: torch.Tensor) -> torch.Tensor:
    """uint8 [N, side, side, 3] -> what an InternViT takes."""
    mean, std = (
        torch.tensor(values, device=tiles.device) for values in (INTERNVIT.mean, INTERNVIT.std)
    )
    return (tiles.float() * INTERNVIT.scale - mean) / std


def _cells(shown: torch.Tensor) -> torch.Tensor:
    """What lies in the four patches of each row of a projector: [N, P, slots] -> [N, R, 4 slots]."""
    half = round((shown.shape[1] / 4) ** 0.5)
    cells = shown.view(len(shown), half, 2, half, 2, -1).transpose(2, 3)
    return cells.reshape(len(shown), half * half, -1)


def _apart(rows: torch.Tensor, wanted: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """How far rows [N, R, D] lie from others, in parts of what these vary by; where nobody knows, nothing."""
    known = (_cells(shown) != UNSEEN).all(-1)
    far = (rows.float() - wanted.float())[known].square().mean()
    return far / wanted[known].float().square().mean().clamp(min=1e-6)


def judged(told: torch.Tensor, wrong: torch.Tensor) -> tuple[int, int]:
    """Answers of which no token is wrong, and all answers: told and wrong [B, T]."""
    begins = told & ~F.pad(told, (1, 0))[:, :-1]
    number = begins.flatten().cumsum(0)[told.flatten()] - 1
    count = int(begins.sum())
    errors = torch.zeros(count, device=told.device).index_add_(0, number, wrong[told].float())
    return int((errors == 0).sum()), count
