"""Which recipe a file holds, and what else a run of it may be given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.train import lessons, recipe
from edge.train.fields import read_as
from edge.train.lessons import LessonsRecipe
from edge.train.recipe import TrainingRecipe


def read(path: Path) -> TrainingRecipe | LessonsRecipe:
    """A recipe of a decoder, or one of lessons: that has courses."""
    return read_as(path, _made)


def _made(raw: Mapping[str, Any]) -> TrainingRecipe | LessonsRecipe:
    return lessons.of_table(raw) if "courses" in raw else recipe.of_table(raw)


def fonts_of(data: Sequence[str]) -> Path:
    """The folder of fonts, which a recipe of lessons draws with and cannot do without."""
    if len(data) == 1:
        return Path(data[0])
    raise EdgeError(
        f"this recipe draws texts in fonts that edge does not bring, and was given {len(data)} folders of them",
        fix="give --data FOLDER with those that edge/data/fonts.yaml lists",
    )
