"""A run of a network that is no decoder: its definition, on torch, on examples and by a loss that the recipe names."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from edge.data.examples import (
    Arrays,
    Examples,
    Pictures,
    Shuffled,
    check_targets,
    names_of,
    read_lines,
    sources,
)
from edge.errors import EdgeError
from edge.nn.networks import define
from edge.train.course import Position
from edge.train.network import NetworkRecipe
from edge.train.network_origin import NetworkOrigin, network_origin
from edge_runtimes.torch import export
from edge_runtimes.torch.held import Whole
from edge_runtimes.torch.loop import Loop
from edge_runtimes.torch.losses import LOSSES, right
from edge_runtimes.torch.narrow import narrow
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.ranks import Ranks


class NetworkRun(Loop):
    unit = "examples"

    def __init__(
        self,
        recipe: NetworkRecipe,
        out: Path,
        *,
        ranks: Ranks | None = None,
        find: Callable[[str], Path] = Path,
        start: str | None = None,
        data: Sequence[str] = (),
    ) -> None:
        ranks = ranks or Ranks()
        self.recipe = recipe
        self.mine = ranks.mine(recipe.splits)
        self.judged = recipe.examples.loss in ("cross-entropy", "binary-cross-entropy")
        named = start or recipe.start
        if named is None:
            raise EdgeError("this recipe names no checkpoint to go on from", fix="give --start")
        origin = network_origin(find(named))
        self.origin, self.examples = found(origin, recipe, data or recipe.examples.files)
        self.output = output_of(self.origin, recipe)
        self._shuffled = Shuffled(self.examples.count, recipe.seed)
        first = ((name, torch.from_numpy(weight)) for name, weight in self.origin.weights())
        held = Whole(first, ranks)
        super().__init__(
            out, ranks=ranks, held=held, rates=recipe.rates, total=recipe.examples.seen
        )
        self.still = still(self.weights, recipe.still)
        for name in self.still:
            self.weights[name].requires_grad_(False)
        ranks.share_threads()

    def start(self) -> Position:
        return Position(texts=self.examples.digest)

    def step(self) -> None:
        at, batch = self.at, self.recipe.examples.batch
        each = batch // self.recipe.splits
        loss, hits, answers = 0.0, 0.0, 0.0
        for split in self.mine:
            begin = at.step * batch + split * each
            one = self.part(self._shuffled.rows(range(begin, begin + each)))
            loss, hits, answers = loss + one[0] / batch, hits + one[1], answers + one[2]
        loss, hits, answers, asked = self.ranks.total(loss, hits, answers, self.asked)
        self.update(loss, still=self.still)
        at.tokens += batch
        self.stopped = asked > 0
        if self.judged and answers:
            self.remember(at.stage, hits / answers)

    def part(self, rows: Sequence[int]) -> tuple[float, int, int]:
        """Adds the gradients of some examples to the weights'; their loss in sum, and right answers of all."""
        device = self.ranks.device
        given, wanted = self.examples.take(rows)
        inputs = {name: torch.from_numpy(array).to(device) for name, array in given.items()}
        target = torch.from_numpy(wanted).to(device)
        ops = TorchNetOps(self.held.weights, device=device)
        with narrow(device.type, self.recipe.precision):
            out = define(ops, self.origin.spec, **inputs)[self.output]
            each = LOSSES[self.recipe.examples.loss](out, target)
        torch.autograd.backward(each.sum() / self.recipe.examples.batch)
        hits, answers = right(out.detach(), target, self.recipe.examples.loss)
        return float(each.detach().sum()), hits, answers

    def export(self) -> Path | None:
        if not self.ranks.first:
            return None
        export.write_network(self.out / "model", self.origin, self.held.own)
        return self.out / "model"


def found(
    origin: NetworkOrigin, recipe: NetworkRecipe, data: Sequence[str]
) -> tuple[NetworkOrigin, Examples]:
    """The examples, and the origin with a head for the labels that they have, where the recipe wants one."""
    table, given = recipe.examples, sources(data)
    if given["arrays"]:
        if table.labels == "new":
            raise EdgeError(
                "arrays name no labels",
                fix="give lines of pictures, or `labels: own` in the recipe",
            )
        (folder,) = given["arrays"]
        arrays = Arrays(folder, origin.spec.config)
        ports = {port.name: port.shape for port in origin.spec.config.outputs}
        out = ports[output_of(origin, recipe)]
        check_targets(folder / "target.npy", arrays.target, out[1:], table.loss)
        return origin, arrays
    lines = [line for file in given["lines"] for line in read_lines(file)]
    if table.labels == "new":
        origin = origin.relabelled(names_of(lines))
    ports = {port.name: port.shape for port in origin.spec.config.outputs}
    if origin.vision is None or "logits" not in ports or table.loss in ("squared", "absolute"):
        raise EdgeError(
            f"lines of pictures and labels are for a classifier of pictures and a cross-entropy, and {origin.folder} "
            f"gives {', '.join(ports)} by the loss {table.loss}",
            fix="give a folder of arrays; or start from a classifier, or with `labels: new`",
        )
    labels = origin.labels or [f"row {row}" for row in range(int(ports["logits"][-1]))]
    several = table.loss == "binary-cross-entropy"
    return origin, Pictures(lines, labels, origin.vision.preparation, several=several)


def output_of(origin: NetworkOrigin, recipe: NetworkRecipe) -> str:
    names = [port.name for port in origin.spec.config.outputs]
    wanted = recipe.examples.output
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        raise EdgeError(
            f"{origin.folder} gives {', '.join(names)}, and the recipe trains {wanted or 'none of them'}",
            fix="name one as `output` in the recipe's examples",
        )
    return wanted


def still(weights: Sequence[str] | dict[str, torch.Tensor], patterns: Sequence[str]) -> set[str]:
    """The weights that patterns name; refuses one that names none, and all of them."""
    names: set[str] = set()
    for pattern in patterns:
        matched = {name for name in weights if fnmatchcase(name, pattern)}
        if not matched:
            raise EdgeError(
                f"no weight is named {pattern}, which was to stay still",
                fix=f"name some of {', '.join(list(weights)[:5])}, …",
            )
        names |= matched
    if len(names) == len(weights):
        raise EdgeError("every weight stays still", fix="let some learn")
    return names
