"""Training on torch: a recipe of texts or stories, or one of lessons with pictures, in a run's folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edge.data import fonts
from edge.errors import EdgeError
from edge.train import reading
from edge.train.course import STATE
from edge.train.lessons import LessonsRecipe
from edge.train.network import NetworkRecipe
from edge.train.recipe import changed
from edge_runtimes.torch.lessons import LessonsRun
from edge_runtimes.torch.loop import Loop, begun
from edge_runtimes.torch.network_run import NetworkRun
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.run import Run


def train(
    recipe: Path,
    out: Path,
    *,
    find: Callable[[str], Path] = Path,
    start: str | None = None,
    data: Sequence[str] = (),
    resume: bool = False,
) -> Path | None:
    """Train, or go on training, in `out`; returns the checkpoint folder that was written there, by the
    first process alone. `find` knows the folders of checkpoints; `start` and `data` are instead of
    the recipe's; of lessons, `data` is a folder of fonts.
    """
    made = reading.read(recipe)
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    with Ranks() as ranks, ranks.together():
        written = _run(made, out, ranks, find=find, start=start, data=data)
        ranks.leave()
        return written


def _run(
    made: reading.Recipe,
    out: Path,
    ranks: Ranks,
    *,
    find: Callable[[str], Path],
    start: str | None,
    data: Sequence[str],
) -> Path | None:
    run: Loop
    if isinstance(made, LessonsRecipe):
        run = LessonsRun(
            made,
            out,
            fonts=fonts.found(reading.fonts_of(data)),
            ranks=ranks,
            start=None if start is None else find(start),
        )
    elif isinstance(made, NetworkRecipe):
        run = NetworkRun(made, out, ranks=ranks, find=find, start=start, data=data)
    else:
        run = Run(changed(made, start=start, data=data), out, ranks=ranks, find=find)
    if begun(out, ranks):
        run.restore()
    else:
        run.begin()
    run.go()
    return run.export()
