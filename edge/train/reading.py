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


def refuse_texts(texts: Sequence[str]) -> None:
    """A recipe of lessons draws what it learns from."""
    if texts:
        raise EdgeError("this recipe draws its own pictures", fix="leave out --text")


def refuse_fonts(data: Path | None) -> None:
    if data is not None:
        raise EdgeError("this recipe draws no pictures", fix="leave out --data")


def needed(data: Path | None) -> Path:
    """The folder of fonts, which a recipe of lessons cannot do without."""
    if data is None:
        raise EdgeError(
            "this recipe draws texts in fonts that edge does not bring",
            fix="give --data FOLDER with those that edge/data/fonts.yaml lists",
        )
    return data
