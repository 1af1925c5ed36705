"""Regions of pictures: what a model says of them, and which it names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.pipelines.groma import STEPS, Groma, Shown, words_of
from edge.run.model import Answer
from edge.system.progress import Progress, silent
from edge.vision.boxes import Box, fit
from edge.vision.pictures import Picture, open_picture


def show_regions(
    model: Groma,
    images: Sequence[Path],
    boxes: Sequence[Box],
    progress: Progress = silent,
) -> tuple[Picture, Shown, dict[str, Any]]:
    """The one picture, as it is and as the model gets it with a user's boxes, and what is said of it."""
    if len(images) != 1:
        raise EdgeError(
            f"there are {len(images)} pictures, and this model answers about one",
            fix="give one --image",
        )
    (image,) = images
    picture = open_picture(image)
    fit(boxes, picture.width, picture.height, most=model.limits.most)
    with progress(image.name, STEPS) as advance:
        about = model.look(picture, boxes, progress=advance)
    said = {
        "file": str(image),
        "width": about.width,
        "height": about.height,
        "grid": [1, 1],
        "tiles": 1,
        "tokens": len(about.rows),
        "regions": len(about.regions),
    }
    return picture, about, said


def regions_of(answer: Answer) -> list[dict[str, Any]]:
    """What an answer named, once it is whole: phrase, box in pixels, score."""
    return words_of(answer).regions
