"""Weights and data that are made here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge import targets, train
from edge.api.opening import ready
from edge.data.asking import is_address
from edge.data.making import Order, crew, make
from edge.errors import EdgeError
from edge.source.naming import resolve
from edge.system.progress import Progress, silent

RECIPES = Path(train.__file__).parent / "recipes"


def train_recipe(
    recipe: str,
    out: Path,
    *,
    start: str | None,
    data: Sequence[str],
    resume: bool,
    on: str = targets.TRAINER,
) -> Path | None:
    """Train by a recipe: a name of `edge/train/recipes`, or a YAML file. Of several processes only the
    first has a result. `on`: a runtime that trains.
    """
    named = RECIPES / f"{recipe}.yaml"
    file = named if named.is_file() else Path(recipe)
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise EdgeError(
            f"there is no recipe {recipe!r}", fix=f"use one of: {known}; or a YAML file"
        )
    return targets.trainer(on).train(
        file,
        out,
        find=lambda name: resolve(name).checkpoint(),
        start=start,
        data=data,
        resume=resume,
    )


def make_data(
    order: Order,
    out: Path,
    *,
    processes: int | None = None,
    ray: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make training data by an engine -> what became of the rows. `ray`: a cluster that does the work."""
    means = order.means
    if means.model is not None and not is_address(means.model):
        means = replace(means, model=str(ready(means.model, progress).absolute()))
    if means.tokenizer is not None:
        here = Path(means.tokenizer)
        found = here if here.is_dir() else resolve(means.tokenizer).checkpoint()
        means = replace(means, tokenizer=str(found.absolute()))
    return make(
        replace(order, means=means),
        out,
        lambda: crew(processes, ray, means),
        resume=resume,
        progress=progress or silent,
    )
