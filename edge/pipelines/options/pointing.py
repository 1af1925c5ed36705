"""What a model that points may be asked about."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from edge.pipelines.options import Asked, Option


@dataclass(frozen=True, kw_only=True, slots=True)
class PointingOptions(Asked):
    """Regions of a picture."""

    TITLE: ClassVar[str] = "Options of a model that points"
    PIPELINE: ClassVar[str | None] = "groma"
    MODEL: ClassVar[str] = "edge-points"

    box: Annotated[
        list[str] | None,
        Option(
            help="A region of the picture, x1,y1,x2,y2 in pixels, which the question is about: where it says <box>, "
            "or at its end; may be repeated."
        ),
    ] = None

    def chooses(self) -> bool:
        return bool(self.box)
