"""A run of a detector: a tower, and a proposer of boxes on its rows, with losses after each layer and of all that the
encoder proposes. Each picture teaches one of the proposer's heads: that of things with a name, or that of all that has
an outline (arXiv 2404.13013, and its code).

B pictures, S pixels of a side, T things of one.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edge.data.regions.examples import Example
from edge.errors import EdgeError
from edge.measure import curves
from edge.measure.found import Found, found
from edge.net import NetSpec
from edge.nn.networks import define
from edge.nn.regions.proposer import TaughtSpec, Told, taught
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.train.course import LOG, Position
from edge.train.regions.detection import DetectionRecipe
from edge.train.regions.small_groma import SmallGroma, learning, small_detector
from edge.train.regions.sources import NAMED, Drawn, Given, Source
from edge.typing import F32
from edge.vision.boxes import corners
from edge.vision.marking import numbered, save
from edge.vision.selection import Limits, select
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole, below
from edge_runtimes.torch.initial import initial_network
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.network_run import still
from edge_runtimes.torch.optim import Tensors
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.regions.initial import initial_proposer
from edge_runtimes.torch.regions.losses import PARTS, costs_of

FOUND = "found.jsonl"
_SHOWN, _ASKED = 6, 32  # pictures that are drawn with what was found, and that are counted
_CURVES = ("loss", *PARTS, "recall", "precision")


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures [B, S, S, 3], of each the boxes of its things [T, 4] as parts of it, and the head that it teaches."""

    pictures: torch.Tensor
    wanted: tuple[torch.Tensor, ...]
    heads: tuple[int, ...]

    @property
    def things(self) -> int:
        return sum(map(len, self.wanted))


class DetectorRun(Loop):
    """`data`: a user's files, or nothing for made scenes; `start`: a checkpoint of the recipe's shape to go on from."""

    unit = "pictures"

    def __init__(
        self,
        recipe: DetectionRecipe,
        out: Path,
        *,
        data: Sequence[str] = (),
        ranks: Ranks | None = None,
        start: Path | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe = recipe
        self.mine = ranks.mine(recipe.splits)
        made = Drawn(recipe.tower.side, recipe.detection, recipe.seed)
        self.source: Source = Given(recipe, data) if data else made
        self.model = small_detector(recipe)
        weights = first(self.model, recipe.seed)
        weights |= {} if start is None else begun(start, self.model, self.model.specs)
        held = Whole(weights.items(), ranks)
        super().__init__(
            out, ranks=ranks, held=held, rates=recipe.rates, total=recipe.detection.seen
        )
        self.still = still(self.weights, recipe.still)
        for name in self.still:
            self.weights[name].requires_grad_(False)
        ranks.share_threads()

    def start(self) -> Position:
        return Position(texts=self.source.digest)

    def step(self) -> None:
        size = self.recipe.detection.batch
        each, begin = size // self.recipe.splits, self.at.step * size
        batches = [
            self.batch(range(begin + split * each, begin + (split + 1) * each))
            for split in self.mine
        ]
        things, asked = self.ranks.total(sum(batch.things for batch in batches), self.asked)
        costs = [self.part(batch, max(1.0, things)) for batch in batches]
        loss, *sums = self.ranks.total(
            *(sum(one[name] for one in costs) for name in ("loss", *PARTS))
        )
        self.update(loss, still=self.still)
        self.tell(dict(zip(PARTS, sums, strict=True)))
        self.advance(size)
        self.stopped = asked > 0

    def batch(self, numbers: range) -> Batch:
        """The pictures of these numbers, from the beginning of the run."""
        some = [self.source.example(number) for number in numbers]
        pictures, wanted = zip(*(self.source.shown(one, head) for one, head in some), strict=True)
        device = self.ranks.device
        return Batch(
            pictures=torch.from_numpy(np.stack(pictures)).to(device),
            wanted=tuple(torch.from_numpy(boxes).to(device) for boxes in wanted),
            heads=tuple(head for _, head in some),
        )

    def part(self, batch: Batch, things: float) -> dict[str, float]:
        """Adds the gradients of some pictures to the weights'; what they cost, in parts of what `things` do."""
        try:
            costs = self.costs(batch, things)
        except FloatingPointError:
            self.check(float("nan"))
            raise
        torch.autograd.backward(costs["loss"])
        return {name: float(cost.detach()) for name, cost in costs.items()}

    def costs(self, batch: Batch, things: float) -> dict[str, torch.Tensor]:
        """In sum over the layers and the encoder's proposals."""
        first, layers = self.said(batch.pictures)
        every = [(first.logits[0][..., 0], first.boxes)]
        rows = torch.arange(len(batch.heads))
        for told in layers:
            heads = torch.cat(told.logits, dim=-1)  # [B, Q, heads]
            every.append((heads[rows, :, list(batch.heads)], told.boxes))
        table = self.recipe.costs
        parts = [costs_of(*one, batch.wanted, table, things) for one in every]
        sums = {name: torch.stack([part[name] for part in parts]).sum() for name in PARTS}
        loss = table.score * sums["score"] + table.sides * sums["sides"]
        return {"loss": loss + table.overlap * sums["overlap"], **sums}

    def said(
        self, pictures: torch.Tensor
    ) -> tuple[Told[torch.Tensor], tuple[Told[torch.Tensor], ...]]:
        """What the proposer says of pictures [B, S, S, 3], all that losses are of."""
        config = proposer_of(self.model)
        frozen = all(name in self.still for name in self.weights if name.startswith("vision/"))
        with narrow(self.ranks.device.type, self.recipe.precision):
            with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
                seen = define(self._ops("vision"), net(self.model, "vision"), image=pictures)
            return taught(self._ops("proposer"), config, seen["mean"].float(), torch.detach)

    @torch.no_grad()
    def found(self, examples: Sequence[Example]) -> list[F32]:
        """The boxes that would be kept of pictures, the best first: corners [K, 4], as parts of each."""
        some = [self.source.shown(one, NAMED)[0] for one in examples]
        pictures = torch.from_numpy(np.stack(some)).to(self.ranks.device)
        _, layers = self.said(pictures)
        config = proposer_of(self.model)
        chances = [
            x[..., 0].float().sigmoid() ** power
            for x, power in zip(layers[-1].logits, config.powers, strict=True)
        ]
        scores = torch.stack(chances).prod(0).cpu().numpy()
        boxes = layers[-1].boxes.float().cpu().numpy()
        return [corners(select(*one, Limits()).boxes) for one in zip(boxes, scores, strict=True)]

    def sample(self) -> None:
        """Pictures that are no lessons, if there are such, with what is found in them; and how costs went."""
        examples = self.source.asked(_ASKED)
        total = Found()
        folder = self.out / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        for number, (example, boxes) in enumerate(zip(examples, self.found(examples), strict=True)):
            total += found(boxes, corners(self.source.shown(example, NAMED)[1]))
            if number < _SHOWN:
                _draw(folder / f"{number + 1}-{self.at.tokens:09}.png", example, boxes)
        line = {"step": self.at.step, "recall": total.recall, "precision": total.precision}
        with (self.out / FOUND).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.log()
        self._draw()

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        weights = {name: self._own(name) for name in self.model.specs}
        export.write_pipeline(self.out / "model", self.model, weights)
        return self.out / "model"

    def _ops(self, name: str) -> TorchNetOps:
        return TorchNetOps(self._own(name), device=self.ranks.device)

    def _own(self, name: str) -> Tensors:
        return below(self.weights, name)

    def _draw(self) -> None:
        lines: dict[int, dict[str, float]] = {}
        for file in (LOG, FOUND):
            for text in (self.out / file).read_text(encoding="utf-8").splitlines():
                one = json.loads(text)
                numbers = {name: one[name] for name in _CURVES if name in one}
                lines.setdefault(one["step"], {"step": one["step"]}).update(
                    numbers | one.get("costs", {})
                )
        picture = curves.svg([lines[step] for step in sorted(lines)], _CURVES, "A detector learns")
        (self.out / "curves.svg").write_text(picture, encoding="utf-8")


def net(model: SmallGroma, name: str) -> NetSpec:
    """Of one of its networks that is no decoder."""
    spec = model.specs[name]
    assert isinstance(spec, NetSpec), f"{name} is a network"
    return spec


def proposer_of(model: SmallGroma) -> TaughtSpec:
    config = net(model, "proposer").config
    assert isinstance(config, TaughtSpec), "it learns"
    return config


def first(model: SmallGroma, seed: int) -> Tensors:
    """Of the tower and the proposer."""
    made = {
        "vision": initial_network(net(model, "vision"), seed),
        "proposer": initial_proposer(net(model, "proposer"), seed),
    }
    return {f"{name}/{own}": weight for name, some in made.items() for own, weight in some.items()}


def begun(start: Path, model: SmallGroma, names: Collection[str]) -> Tensors:
    """The weights of some networks by a checkpoint that has them; heads that it does not have begin as new ones."""
    found: Tensors = {}
    for name in names:
        with Checkpoint.open(start, stage=name) as checkpoint:
            if learning(checkpoint.spec) != model.specs[name]:
                raise EdgeError(
                    f"{start} is not of the recipe's shape",
                    fix="leave out --start, or name one that a recipe of this shape made",
                )
            every = checkpoint.also(model.places[name])
            found |= {f"{name}/{own}": torch.from_numpy(whole(every, own)) for own in every.places}
    return found


def _draw(file: Path, example: Example, boxes: F32) -> None:
    """A picture with boxes, which are corners as parts of it."""
    picture = example.picture()
    sides = np.array([picture.width, picture.height] * 2)
    save(file, picture, numbered([(a, b, c, d) for a, b, c, d in (boxes * sides).tolist()]))
