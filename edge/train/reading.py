"""Which recipe a file holds, and what else a run of it may be given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.train import lessons, network, recipe
from edge.train.fields import read_as
from edge.train.lessons import LessonsRecipe
from edge.train.network import NetworkRecipe
from edge.train.recipe import TrainingRecipe

Recipe = TrainingRecipe | LessonsRecipe | NetworkRecipe


def read(path: Path) -> Recipe:
    """A recipe of a decoder; one of lessons, that has courses; or one of another network, that has examples."""
    return read_as(path, _made)


def _made(raw: Mapping[str, Any]) -> Recipe:
    if "courses" in raw:
        return lessons.of_table(raw)
    return network.of_table(raw) if "examples" in raw else recipe.of_table(raw)


def fonts_of(data: Sequence[str]) -> Path:
    """The folder of fonts, which a recipe of lessons draws with and cannot do without."""
    if len(data) == 1:
        return Path(data[0])
    raise EdgeError(
        f"this recipe draws texts in fonts that edge does not bring, and was given {len(data)} folders of them",
        fix="give --data FOLDER with those that edge/data/fonts.yaml lists",
    )
