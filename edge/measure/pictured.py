"""Files that say what is where in pictures, as COCO, RefCOCO for Groma, and LVIS write them: questions for a model
that points. A user has them and their pictures; nothing is fetched.

JSON with `images` (`id`, `file_name` or `coco_url`, perhaps a `caption`), `annotations` (`image_id`, `bbox`: left, top,
width, height; `area`, `category_id`) and `categories` (`id`, `name`). Where a picture has a caption, it is a question
about one thing; otherwise there is a question about each kind of thing in it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edge.errors import Damaged, EdgeError
from edge.files.config import parse_json
from edge.typing import F64

LIMIT = 256 << 20  # bytes: more than LVIS's largest that is asked about
FAR = 1 << 24  # pixels, beyond which is no picture's side


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked for of a picture, and where it is: `boxes` [T, 4] in pixels, `areas` [T]; `one`: one thing, by
    what it is like, or all of its kind.
    """

    picture: Path
    asked: str
    one: bool
    boxes: F64
    areas: F64


def questions(file: Path, folder: Path) -> list[Question]:
    """Of a file about pictures below a folder, in its order. Damaged if it is not as these are, EdgeError if a picture
    is missing or lies elsewhere.
    """
    if not file.is_file():
        raise EdgeError(f"there is no file {file}", fix="check its name")
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} has more than {LIMIT >> 20} MiB", fix="ask about fewer pictures")
    data = parse_json(file.read_bytes(), str(file))
    try:
        return list(_questions(data, folder))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Damaged(
            f"{file} is not as COCO's files are: {type(error).__name__}: {error}",
            fix="give images, annotations and categories",
        ) from None


def _questions(data: Mapping[str, Any], folder: Path) -> Iterator[Question]:
    names = {row["id"]: str(row["name"]) for row in data.get("categories", [])}
    there: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in data["annotations"]:
        if not (row.get("ignore") or row.get("iscrowd")):
            there[row["image_id"]].append(row)
    for image in data["images"]:
        rows = there[image["id"]]
        if not rows:
            continue
        picture = _below(folder, image)
        if image.get("caption"):
            yield _question(picture, str(image["caption"]), rows, one=True)
            continue
        kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            kinds[names[row["category_id"]]].append(row)
        for kind, some in kinds.items():
            yield _question(picture, kind.replace("_", " "), some, one=False)


def _question(
    picture: Path, asked: str, rows: Sequence[Mapping[str, Any]], *, one: bool
) -> Question:
    asked = " ".join(asked.split()).lower() if not one else asked.strip()
    sides = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    areas = np.array(
        [row.get("area", w * h) for row, (_, _, w, h) in zip(rows, sides, strict=True)]
    )
    areas = areas.astype(np.float64)
    if not ((abs(sides) < FAR).all() and (sides[:, 2:] > 0).all() and (areas >= 0).all()):
        raise ValueError(f"a bbox of {picture.name} has no size")
    boxes = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)
    return Question(picture=picture, asked=asked, one=one, boxes=boxes, areas=areas)


def _below(folder: Path, image: Mapping[str, Any]) -> Path:
    """The picture by its whole name or by its last part, as folders of COCO's are laid out by either."""
    name = str(image.get("file_name") or PurePosixPath(image["coco_url"]))
    parts = PurePosixPath(name).parts
    for tail in (parts, parts[-2:], parts[-1:]):
        path = folder.joinpath(*tail)
        if _is_file(path) and path.resolve().is_relative_to(folder.resolve()):
            return path
    raise EdgeError(f"{folder} has no picture {name!r:.200}", fix="give the folder that holds them")


def _is_file(path: Path) -> bool:
    """Also of a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
