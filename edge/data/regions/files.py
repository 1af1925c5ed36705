"""A user's files of pictures with boxes, COCO's JSON and lines of JSON: all is read before anything is learned."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.data.regions import coco, lines
from edge.data.regions.marked import Marked
from edge.errors import EdgeError


@dataclass(frozen=True, slots=True)
class Read:
    """`digest`: of all that says which they are, pictures by names; `left_out`: boxes that teach nothing, and why."""

    marked: tuple[Marked, ...]
    digest: str
    left_out: Counter[str]


def read(names: Sequence[str]) -> Read:
    """The pictures of all files, in their order. A `.json` is COCO's; a `.jsonl` has lines."""
    found, left_out = list[Marked](), Counter[str]()
    for name in names:
        file = Path(name)
        if not file.is_file():
            raise EdgeError(f"there is no file {file}", fix="give COCO's .json, or a .jsonl")
        if file.suffix == ".json":
            found += coco.read(file, left_out)
        elif file.suffix == ".jsonl":
            found += lines.read(file, lambda _: None)
        else:
            raise EdgeError(
                f"{file} is neither .json nor .jsonl",
                fix="give COCO's JSON as .json, or lines of phrases or regions as .jsonl",
            )
    told = [
        [one.where, one.file.name, one.width, one.height, one.boxes, one.names] for one in found
    ]
    said = [[talk.question, talk.answer, talk.referred] for one in found for talk in one.talks]
    digest = hashlib.sha256(json.dumps([told, said]).encode()).hexdigest()
    return Read(tuple(found), digest, left_out)
