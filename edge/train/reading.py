"""Which recipe a file holds, and what else a run of it may be given."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.train import lessons, network, recipe
from edge.train.fields import read_as
from edge.train.lessons import LessonsRecipe
from edge.train.network import NetworkRecipe
from edge.train.recipe import TrainingRecipe
from edge.train.regions import detection, dialogues
from edge.train.regions.detection import DetectionRecipe
from edge.train.regions.dialogues import DialoguesRecipe
from edge.train.speech import recipe as speech
from edge.train.speech import recognizer, vocoder
from edge.train.speech.recipe import SpeechRecipe
from edge.train.speech.recognizer import RecognizerRecipe
from edge.train.speech.vocoder import VocoderRecipe

Recipe = (
    TrainingRecipe
    | LessonsRecipe
    | NetworkRecipe
    | VocoderRecipe
    | RecognizerRecipe
    | SpeechRecipe
    | DetectionRecipe
    | DialoguesRecipe
)


# What a recipe alone of its kind has -> how it is read. One that has none of them is a decoder's.
KINDS: Mapping[str, Callable[[Mapping[str, Any]], Recipe]] = {
    "courses": lessons.of_table,
    "examples": network.of_table,
    "crops": vocoder.of_table,
    "consistency": speech.of_table,
    "hearing": recognizer.of_table,
    "detection": detection.of_table,
    "dialogues": dialogues.of_table,
}


def read(path: Path) -> Recipe:
    """A recipe, of the kind that its keys say."""
    return read_as(path, _made)


def _made(raw: Mapping[str, Any]) -> Recipe:
    kinds = [kind for key, kind in KINDS.items() if key in raw]
    return (kinds[0] if kinds else recipe.of_table)(raw)


def fonts_of(data: Sequence[str]) -> Path:
    """The folder of fonts, which a recipe of lessons draws with and cannot do without."""
    if len(data) == 1:
        return Path(data[0])
    raise EdgeError(
        f"this recipe draws texts in fonts that edge does not bring, and was given {len(data)} folders of them",
        fix="give --data FOLDER with those that edge/data/fonts.yaml lists",
    )
