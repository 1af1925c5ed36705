"""What pipelines that are shown pictures open alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge import targets
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import Damaged, Unsupported
from edge.run.strategy import Strategy
from edge.text.tokenizer import Tokenizer
from edge.vision.pictures import Picture, open_picture
from edge.vision.preparation import Preparation

Image = Path | str | bytes | Picture


def as_picture(image: Image) -> Picture:
    """Opened, if it is not."""
    if isinstance(image, str):
        image = Path(image)
    return image if isinstance(image, Picture) else open_picture(image)


def content_of(picture: Picture, *more: object) -> tuple[bytes | memoryview, ...]:
    """What rows of a picture are remembered by: its pixels, and what else they were made by."""
    pixels = np.ascontiguousarray(picture.rgb)
    return repr((pixels.shape, *more)).encode(), pixels.data


def refuse_family(artifact: PipelineArtifact, family: str) -> None:
    """An artifact of another kind."""
    if artifact.manifest.family != family:
        raise Unsupported(
            f"{artifact.folder} is {artifact.manifest.family}, which answers nothing about pictures",
            fix=f"take its networks one by one: edge bench {artifact.folder / next(iter(artifact.stages))}",
        )


def how(part: Artifact, strategy: Strategy, *, threads: int | None, exact: bool) -> dict[str, Any]:
    """How a network is opened: by a reference evaluation what has one, where that is asked for."""
    able = "open_reference" in vars(targets.runtime(part.manifest.target))
    return {"threads": threads, "exact": exact, "reference": strategy.reference and able}


def prepared(tower: Artifact, side: int) -> Preparation:
    """How pixels become numbers, of what has its size already."""
    (image,) = tower.manifest.network.config.inputs
    if tower.manifest.vision is None or image.shape[1:] != (side, side, 3):
        raise Damaged(f"{tower.folder} sees no squares of {side} pixels", fix="convert again")
    return replace(tower.manifest.vision.preparation, resize=None, crop=None)


def id_of(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.id_of(token)
    if found is None:
        raise Unsupported(
            f"the tokenizer has no {token}, which a picture needs",
            fix="use the tokenizer that was published with the model",
        )
    return found
