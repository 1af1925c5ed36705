"""What pictures show."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.pipelines.internvl import InternVL
from edge.run.classifier import Classifier
from edge.system.progress import Progress, silent
from edge.vision.pictures import open_picture


def look_at(
    model: InternVL, images: Sequence[Path], most: int | None, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Each picture as the model gets it, and what is said of it; progress is by tiles."""
    found = []
    for image in images:
        picture = open_picture(image)
        with progress(image.name, model.grid(picture, most).tiles) as advance:
            shown = model.look(picture, most=most, progress=advance)
        said = {
            "file": str(image),
            "width": shown.width,
            "height": shown.height,
            "grid": [shown.grid.columns, shown.grid.rows],
            "tiles": shown.grid.tiles,
            "tokens": len(shown.rows),
        }
        found.append({"shown": shown, "said": said, "notes": list(picture.notes)})
    return found


def classify(classifier: Classifier, images: Sequence[Path], top: int) -> list[dict[str, Any]]:
    """What each picture shows: its labels with their scores, likeliest first."""
    found = []
    for image in images:
        picture = open_picture(image)
        answers = classifier.classify(picture, top=top)
        shown = {"file": str(image), "width": picture.width, "height": picture.height}
        labels = [asdict(answer) for answer in answers]
        found.append({"labels": labels, "images": [shown], "notes": list(picture.notes)})
    return found
