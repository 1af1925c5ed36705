"""Training on MLX: an adapter, on a Mac's GPU, or to be proved on any CPU."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edge.errors import EdgeError, Unsupported
from edge.system.team import several
from edge.train import reading
from edge.train.course import STATE
from edge.train.recipe import TrainingRecipe, changed
from edge_runtimes.mlx.tuning import TuningRun


def train(
    recipe: Path,
    out: Path,
    *,
    find: Callable[[str], Path] = Path,
    start: str | None = None,
    data: Sequence[str] = (),
    resume: bool = False,
) -> Path:
    """`edge.contracts.Trainer`; the folder of the adapter."""
    made = reading.read(recipe)
    if several():
        raise Unsupported("MLX trains in one process", fix="leave out torchrun, or --on")
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    if not isinstance(made, TrainingRecipe):
        raise Unsupported(
            "on MLX adapters of decoders are trained, and nothing else",
            fix="train this recipe on torch: leave out --on",
        )
    run = TuningRun(changed(made, start=start, data=data), out, find=find)
    if (out / STATE).exists():
        run.restore()
    run.go()
    return run.export()
