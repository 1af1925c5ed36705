"""What a network that sees pictures may be converted with, and asked."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from edge.pipelines.options import Asked, Option


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureOptions(Asked):
    """What a network that sees pictures is converted with: of `convert`, and of a first `run`."""

    TITLE: ClassVar[str] = "Options of a model that sees"

    labels: Annotated[
        Path | None, Option(help="What each row of a head means: a text, a line a row, or JSON.")
    ] = None
    wordnet: Annotated[
        Path | None,
        Option(help="A folder of WordNet 3.0, which gives labels such as n02084071 names."),
    ] = None
    classes: Annotated[
        Path | None, Option(help="Cut the head to these classes, a line each, without training.")
    ] = None
    image_size: Annotated[
        int | None, Option(help="Pixels of a picture's side, if not the model's own.", low=1)
    ] = None

    def chooses(self) -> bool:
        return False

    def conversion(self) -> dict[str, Any]:
        """As `edge.convert` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(PictureOptions)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions(PictureOptions):
    """Pictures, and what is asked of them."""

    PIPELINE: ClassVar[str | None] = "internvl"
    MODEL: ClassVar[str] = "edge-reads"

    image: Annotated[
        list[Path] | None, Option(help="A picture, for a model that sees; may be repeated.")
    ] = None
    top: Annotated[
        int | None, Option(help="Of a picture: so many labels; 5 if left out.", low=1)
    ] = None
    max_tiles: Annotated[
        int | None,
        Option(help="Of a picture: the most tiles it is cut into.", low=1, high=40),
    ] = None

    def chooses(self) -> bool:
        return bool(self.image)
