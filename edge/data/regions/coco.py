"""Boxes of pictures in COCO's JSON: `images`, `annotations` whose `bbox` is left, top, width and height, `categories`.

A file is read an entry at a time, and of each only what is needed is kept: outlines of a large set are gigabytes.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.data.regions.marked import Marked, opened, within
from edge.errors import Damaged, EdgeError
from edge.files.texts import text_of
from edge.vision.boxes import Box

BYTES = 1 << 30
MOST = 1000  # boxes of a picture
ANYTHING = (
    "object",
    "",
)  # a category that names nothing, where it is the only one: as SA-1B's files have
_TABLES = ("images", "annotations", "categories")
_SPACE = re.compile(r"[ \t\r\n]*")
_FIX = "write it as COCO does: https://cocodataset.org/#format-data, 1. Object Detection"
Key = int | str


@dataclass(frozen=True, slots=True)
class _Noted:
    image: Key
    category: Key | None
    box: tuple[float, float, float, float]  # left, top, width, height
    where: str


def read(file: Path, left_out: Counter[str]) -> list[Marked]:
    """Every picture of a file, also one with no box. `left_out` counts boxes that teach nothing: of crowds, and of no
    area, which COCO's own files have.
    """
    images: dict[Key, tuple[Mapping[str, Any], str]] = {}
    noted: dict[Key, list[_Noted]] = {}
    names: dict[Key, str] = {}
    for table, number, entry in _entries(file):
        where = f"{file}, {table}[{number}]"
        if table == "images":
            _image(entry, where, images)
        elif table == "categories":
            names[_key(entry, "id", where)] = str(entry.get("name", ""))
        elif (one := _annotation(entry, where, left_out)) is not None:
            noted.setdefault(one.image, []).append(one)
    if not images:
        raise Damaged(f"{file} lists no images", fix=_FIX)
    for key in noted.keys() - images.keys():
        raise Damaged(f"{noted[key][0].where}: there is no image {key!r:.40}", fix=_FIX)
    outlined = len(names) < 2 and set(names.values()) <= set(ANYTHING)
    return [
        _marked(file, *image, noted.get(key, []), {} if outlined else names)
        for key, image in images.items()
    ]


def _image(entry: Mapping[str, Any], where: str, images: dict[Key, Any]) -> None:
    key = _key(entry, "id", where)
    if key in images:
        raise Damaged(f"{where}: an image before it has the id {key!r:.40}, too", fix=_FIX)
    images[key] = {k: entry.get(k) for k in ("file_name", "width", "height")}, where


def _marked(
    file: Path, image: Mapping[str, Any], where: str, noted: list[_Noted], names: Mapping[Key, str]
) -> Marked:
    picture, width, height = opened(file, image["file_name"], where)
    said = image["width"], image["height"]
    if None not in said and said != (width, height):
        raise EdgeError(
            f"{where} says that {picture} is {said[0]!r:.20} x {said[1]!r:.20}, and it is {width} x {height} upright",
            fix="correct the entry: its boxes are of another picture, or of one that lies on its side",
        )
    if len(noted) > MOST:
        raise Damaged(f"{where}: {len(noted)} boxes in one picture", fix=f"give {MOST} at most")
    called = [_category(one, names) for one in noted] if names else [""] * len(noted)
    boxes = tuple(_corners(one, (width, height)) for one in noted)
    return Marked(picture, where, width, height, boxes, tuple(called), outlined=not names)


def _annotation(entry: Mapping[str, Any], where: str, left_out: Counter[str]) -> _Noted | None:
    box = entry.get("bbox")
    numbers = isinstance(box, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in box
    )
    if not isinstance(box, list) or not numbers or len(box) != 4:
        raise Damaged(f"{where}: bbox is {box!r:.60}, no left, top, width and height", fix=_FIX)
    left, top, width, height = map(float, box)
    if not all(abs(x) <= 1 << 20 for x in (left, top, width, height)) or min(width, height) < 0:
        raise Damaged(f"{where}: bbox is {box!r:.60}, no box of a picture", fix=_FIX)
    image = _key(entry, "image_id", where)
    if entry.get("iscrowd", 0) not in (0, False):
        left_out["of crowds"] += 1
        return None
    if not min(width, height):
        left_out["of no area"] += 1
        return None
    category = _key(entry, "category_id", where) if "category_id" in entry else None
    return _Noted(image, category, (left, top, width, height), where)


def _category(one: _Noted, names: Mapping[Key, str]) -> str:
    if one.category is None or one.category not in names:
        raise Damaged(f"{one.where}: there is no category {one.category!r:.40}", fix=_FIX)
    return names[one.category]


def _corners(one: _Noted, size: tuple[int, int]) -> Box:
    left, top, width, height = one.box
    return within((left, top, left + width, top + height), size, one.where)


def _key(entry: Mapping[str, Any], name: str, where: str) -> Key:
    key = entry.get(name)
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise Damaged(f"{where}: {name} is {key!r:.40}, no number and no name", fix=_FIX)
    return key


def _entries(file: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Each entry of each table that is read, and its number."""
    if file.is_file() and file.stat().st_size > BYTES:
        raise Damaged(f"{file} has more than {BYTES >> 30} GiB", fix="give several smaller files")
    content = text_of(file)
    seen = set[str]()
    try:
        for table, number, entry in _walked(content):
            if table in _TABLES and number == 0 and table in seen:
                raise Damaged(f"{file} has {table} twice", fix=_FIX)
            seen |= {table} if number == 0 else set()
            if table in _TABLES:
                if not isinstance(entry, dict):
                    raise Damaged(f"{file}, {table}[{number}] is no object", fix=_FIX)
                yield table, number, entry
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{file} is not JSON: {error!s:.200}", fix=_FIX) from None


def _walked(content: str) -> Iterator[tuple[str, int, Any]]:
    """Of an object every element of its lists: the list's name, the element's number, and itself. ValueError for what
    is no JSON of this form.
    """
    decode = json.JSONDecoder().raw_decode
    at = _past(content, 0, "{")
    while content[at : at + 1] != "}":
        name, at = decode(content, at)
        if not isinstance(name, str):
            raise ValueError("a key is no text")
        at = _past(content, at, ":")
        if content[at : at + 1] != "[":
            _, at = decode(content, at)
        else:
            at, number = _past(content, at, "["), 0
            while content[at : at + 1] != "]":
                value, at = decode(content, at)
                yield name, number, value
                at, number = _next(content, at, "]"), number + 1
            at += 1
        at = _next(content, at, "}")
    if content[at + 1 :].strip():
        raise ValueError("something follows the object")


def _past(content: str, at: int, mark: str) -> int:
    """Behind a mark and the blanks around it."""
    at = _blank(content, at)
    if content[at : at + 1] != mark:
        raise ValueError(f"{mark} is missing at letter {at}")
    return _blank(content, at + 1)


def _next(content: str, at: int, end: str) -> int:
    """At the next value, or at the end of what holds it."""
    at = _blank(content, at)
    if content[at : at + 1] == end:
        return at
    at = _past(content, at, ",")
    if content[at : at + 1] == end:
        raise ValueError(f"a comma before {end} at letter {at}")
    return at


def _blank(content: str, at: int) -> int:
    found = _SPACE.match(content, at)
    assert found is not None, "nothing is blank, too"
    return found.end()
