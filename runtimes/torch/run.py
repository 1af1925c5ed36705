"""A run of a decoder: the model definition, on torch, on rows that are made or read as they are needed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from edge.data.corpus import StreamPosition
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.train.course import Position
from edge.train.curriculum import dropout, exit_weights
from edge.train.origin import Origin, origin
from edge.train.recipe import TrainingRecipe
from edge.train.sources.kinds import source_of
from edge.train.sources.pairs import PairSource
from edge.train.sources.source import Drawn
from edge.train.written import write_adapter
from edge_runtimes.torch import export, layerskip, reference, sharded
from edge_runtimes.torch.batches import SkipsAndExits, batch_of
from edge_runtimes.torch.costs import cost_of
from edge_runtimes.torch.finetuned import Finetuned
from edge_runtimes.torch.held import Gathered, Held, Whole
from edge_runtimes.torch.initial import initial
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.passes import Passes
from edge_runtimes.torch.ranks import Ranks


class Run(Loop):
    """`compiled`: fuse operations, where a compiler is found if not said."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        out: Path,
        *,
        ranks: Ranks | None = None,
        find: Callable[[str], Path] = Path,
        compiled: bool | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe = recipe
        self.mine = ranks.mine(recipe.splits)
        self.origin = origin(recipe, find)
        self.source = source_of(recipe, self.origin, say=ranks.first)
        self.cost = cost_of(self.source.cost)
        self.judged = self.cost.judged
        self.spec = self.origin.spec
        held = _held(recipe, self.origin, ranks)
        super().__init__(
            out,
            ranks=ranks,
            held=held,
            rates=recipe.rates,
            total=recipe.total(self.source.tokens),
            average=recipe.average,
        )
        self.passes = Passes(
            self.spec,
            self.held,
            cost=self.cost,
            precision=recipe.precision,
            recompute=recipe.recompute,
            shared=ranks.here,
            compiled=compiled,
        )

    def start(self) -> Position:
        return self.source.start()

    def begin(self) -> None:
        if isinstance(self.source, PairSource):
            reference.begin(self.source, self.out, self.passes, self.ranks)

    def restore(self) -> None:
        super().restore()
        if isinstance(self.source, PairSource):
            reference.restore(self.source, self.out)

    def step(self) -> None:
        """One batch, one update, and a look at whether the stage is done."""
        at = self.at
        drawn = self.source.draw(at, self.mine)
        batches = [batch_of(batch) for batch in drawn.batches]
        counts = sum(self.cost.count(batch) for batch in batches)
        total, asked, *places = self.ranks.total(counts, self.asked, *self._spread(drawn))
        scores = [
            self.passes.add(batch, self.skips(drawn, split), total)
            for split, batch in zip(self.mine, batches, strict=True)
        ]
        loss, right, answers = self.ranks.total(
            float(torch.stack([score.loss for score in scores]).sum()),
            sum(score.right for score in scores),
            sum(score.answers for score in scores),
        )
        self.update(loss)
        self.advance(drawn.tokens)
        at.places = [
            StreamPosition(int(b), int(t)) for b, t in zip(places[::2], places[1::2], strict=True)
        ]
        self.stopped = asked > 0
        if self.judged:
            self.remember(drawn.stage, right / max(1, answers))
        if self.source.done(at):
            at.stage, at.since = at.stage + 1, at.step
            self.log()

    def skips(self, drawn: Drawn, split: int = 0) -> SkipsAndExits:
        """Layers are the same for every split, and in every process: each skips as much as any other."""
        at, skip, count = self.at, self.recipe.skip, len(self.spec.layers)
        progress = min(1.0, at.tokens / self.total)
        seeded = torch.Generator().manual_seed(drawn.seed)
        chances = [dropout(skip, layer, count, progress) for layer in range(count)]
        rows = len(drawn.batches[0].tokens)
        return SkipsAndExits(
            kept=layerskip.keep(chances, rows, seeded),
            exits=exit_weights(skip, count, step=at.step, progress=progress),
            seeds=drawn.seed + torch.arange(split * rows, (split + 1) * rows),
        )

    def export(self) -> Path | None:
        with self.averaging.there(self.at.tokens):
            return self._export()

    def _export(self) -> Path | None:
        if isinstance(self.held, Finetuned):
            return self._export_adapter(self.held) if self.ranks.first else None
        folder, writes = self.out / "model", self.ranks.first
        if writes or self.held.shards > 1:
            export.write(folder, self.origin, Gathered(self.held), writes=writes)
        return folder if writes else None

    def _export_adapter(self, held: Finetuned) -> Path:
        """Beside it the whole model, if that was asked for."""
        recipe = self.recipe.adapter
        assert recipe is not None
        folder = write_adapter(self.out, held.adapter(), self.origin, recipe)
        if recipe.merged:
            export.write(self.out / "model", self.origin, held.merged())
        return folder

    def _spread(self, drawn: Drawn) -> list[float]:
        """The new places of this process's splits among zeros for the others': added up, all places."""
        spread = [0.0] * (2 * len(self.at.places))
        for split, place in zip(self.mine, drawn.places, strict=False):
            spread[2 * split : 2 * split + 2] = place.block, place.tokens
        return spread


def _held(recipe: TrainingRecipe, origin: Origin, ranks: Ranks) -> Held:
    """In shards where the recipe says so, or where it does not say and one device is too small."""
    if recipe.adapter is not None:
        return Finetuned(recipe.adapter, origin, recipe.seed, ranks)
    shards = recipe.sharded
    if shards is None:
        shards = sharded.needed(origin.spec, ranks)
    first = _first(origin, recipe.seed)
    if shards and ranks.count > 1:
        return sharded.Sharded(origin.spec, first, ranks)
    return Whole(first, ranks)


def _first(origin: Origin, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights that training starts from, in float32, one at a time."""
    if origin.start is None:
        yield from initial(origin.spec, seed).items()
        return
    with Checkpoint.open(origin.start) as checkpoint:
        for name in checkpoint.places:
            yield name, torch.from_numpy(whole(checkpoint, name))
