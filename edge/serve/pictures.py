"""Pictures of a request: as data URLs, for nothing is fetched; bounded in bytes and in pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from edge.errors import EdgeError
from edge.run.model import Sight
from edge.serve.dataurls import content_of
from edge.serve.fields import FieldError, Strict
from edge.vision.boxes import Box
from edge.vision.pictures import Picture, open_picture

BODY = 32 << 20  # bytes of a request that may hold pictures
PIXELS = 48 << 20  # of all of its pictures
COUNT = 64
_FEW = 1  # tiles where a client asks for low detail


class ImageURL(Strict):
    """Where a picture is: in the request itself."""

    url: str = Field(max_length=BODY)
    detail: Literal["auto", "low", "high"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        """Some clients send the URL alone."""
        return {"url": value} if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture's file, and the most tiles it is cut into; None: as the model is used to. `boxes`: what is asked about
    in it, in pixels.
    """

    content: bytes
    most: int | None
    boxes: tuple[Box, ...] = ()


def shown(image: ImageURL, boxes: Sequence[Sequence[float]]) -> Shown:
    content = content_of(image.url, "image", field="messages", what="a picture's url")
    every = tuple((left, top, right, bottom) for left, top, right, bottom in boxes)
    return Shown(content, _FEW if image.detail == "low" else None, every)


def rows_of(sight: Sight, pictures: Sequence[Shown]) -> list[int]:
    """How many rows each takes. All are decoded once, to be refused before a place is waited for."""
    if len(pictures) > COUNT:
        raise FieldError(
            "messages", f"there are more than {COUNT} pictures", fix="send fewer of them"
        )
    return [
        sight.count(picture, one.most)
        for picture, one in zip(opened(pictures), pictures, strict=True)
    ]


def opened(pictures: Sequence[Shown]) -> Iterator[Picture]:
    """Each by itself, within the pixels that all may have."""
    pixels = 0
    for one in pictures:
        try:
            picture = open_picture(one.content)
        except EdgeError as error:
            raise FieldError("messages", error.problem, fix=error.fix) from None
        pixels += picture.width * picture.height
        if pixels > PIXELS:
            raise FieldError(
                "messages",
                f"the pictures have more than {PIXELS >> 20} Mi pixels",
                fix="send smaller ones",
            )
        yield picture


def show(sight: Sight, pictures: Sequence[Shown]) -> None:
    """On the model's thread: what stands in the places of the prompt that comes next."""
    sight.show([(open_picture(one.content), one.most) for one in pictures])
