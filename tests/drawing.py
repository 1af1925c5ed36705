"""A font for tests of drawn pictures: Pillow's own, which has no Chinese and draws a box for each such letter."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from edge.data.writing import Language


@cache
def fonts() -> dict[Language, list[Path]]:
    from PIL import ImageFont

    file = Path(mkdtemp()) / "plain.ttf"
    face = ImageFont.load_default(20)
    assert isinstance(face, ImageFont.FreeTypeFont), "this Pillow brings no font"
    file.write_bytes(face.font_bytes)
    return {"en": [file], "zh": [file]}
