"""The fonts of the reader's lessons: open ones alone, each known by its hash. `fonts.yaml` lists them.

They are no part of this package: whoever trains or measures gets them by the names that the list gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import yaml

from edge.data.writing import Language
from edge.errors import EdgeError

LIST = Path(__file__).with_suffix(".yaml")
LIMIT = 32 << 20  # bytes of a font


@dataclass(frozen=True, kw_only=True, slots=True)
class Font:
    """`package`: that brings the file, at this version; `source`: whose work it is. `use`: lessons, or only tests of
    what a font does that no lesson had.
    """

    file: str
    language: Language
    package: str
    source: str
    licence: str
    sha256: str
    use: Literal["lessons", "tests"] = "lessons"


@cache
def listed() -> tuple[Font, ...]:
    return tuple(Font(**row) for row in yaml.safe_load(LIST.read_text(encoding="utf-8")))


def found(
    folder: Path, use: Literal["lessons", "tests"] = "lessons"
) -> Mapping[Language, list[Path]]:
    """Where each font of the list lies, anywhere below a folder. EdgeError if one is missing or another file."""
    files = {file.name: file for file in sorted(folder.rglob("*.ttf"))}
    out: dict[Language, list[Path]] = {"en": [], "zh": []}
    for font in (one for one in listed() if one.use == use):
        file = files.get(font.file)
        if file is None:
            raise EdgeError(
                f"{folder} lacks the font {font.file}",
                fix=f"get the npm package {font.package}: {LIST} lists all fonts",
            )
        if file.stat().st_size > LIMIT or sha256(file.read_bytes()).hexdigest() != font.sha256:
            raise EdgeError(
                f"{file} is not the font that lessons were drawn in",
                fix=f"get it from the npm package {font.package}",
            )
        out[font.language].append(file)
    return out
