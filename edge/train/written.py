"""What a run that trains an adapter writes: the same in the layouts of PEFT and of mlx-lm."""

from pathlib import Path

from edge.adapters import mlx, peft
from edge.adapters.value import Adapter
from edge.train.adapter import AdapterRecipe
from edge.train.origin import Origin

LAYOUTS = {"adapter": peft, "adapter-mlx": mlx}  # folders of a run


def write_adapter(run: Path, adapter: Adapter, origin: Origin, recipe: AdapterRecipe) -> Path:
    """Before its config is there, a folder holds no adapter."""
    for name, layout in LAYOUTS.items():
        (run / name).mkdir(parents=True, exist_ok=True)
        for file in (layout.CONFIG, layout.WEIGHTS):
            (run / name / file).unlink(missing_ok=True)
    peft.write(run / "adapter", adapter, base=origin.base, dropout=recipe.dropout)
    mlx.write(run / "adapter-mlx", adapter, dropout=recipe.dropout)
    return run / "adapter"
