"""Training on torch: a recipe of texts or stories, or one of lessons with pictures, in a run's folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edge.data import fonts
from edge.errors import EdgeError
from edge.train import reading
from edge.train.lessons import LessonsRecipe
from edge.train.recipe import changed
from edge_runtimes.torch.lessons import LessonsRun
from edge_runtimes.torch.loop import STATE, Loop, begun
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.run import Run


def train(
    recipe: Path,
    out: Path,
    *,
    find: Callable[[str], Path] = Path,
    start: str | None = None,
    texts: Sequence[str] = (),
    data: Path | None = None,
    resume: bool = False,
) -> Path | None:
    """Train, or go on training, in `out`; returns the checkpoint folder that was written there, by the
    first process alone. `find` knows the folders of checkpoints; `start` and `texts` are instead of
    the recipe's; `data`: a folder with fonts, of lessons alone.
    """
    made = reading.read(recipe)
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    with Ranks() as ranks:
        run: Loop
        if isinstance(made, LessonsRecipe):
            reading.refuse_texts(texts)
            run = LessonsRun(
                made,
                out,
                fonts=fonts.found(reading.needed(data)),
                ranks=ranks,
                start=None if start is None else find(start),
            )
        else:
            reading.refuse_fonts(data)
            run = Run(changed(made, start=start, texts=texts), out, ranks=ranks, find=find)
        if begun(out, ranks):
            run.restore()
        run.go()
        return run.export()
