"""Lines of JSON about pictures: captions whose phrases have boxes, phrases that mean boxes, and captions of boxes.

    {"image": "1.jpg", "caption": "A man rides a horse.",
     "phrases": [{"phrase": "A man", "boxes": [[40, 30, 220, 180]]}, …]}
    {"image": "1.jpg", "phrases": [{"phrase": "the man on the left", "boxes": [[40, 30, 220, 180]]}]}
    {"image": "1.jpg", "regions": [{"box": [40, 30, 220, 180], "caption": "a man with a hat"}]}

Without a caption, a phrase means the boxes that it has and no other: then it is asked where they are.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.data.jsonl import objects
from edge.data.regions.examples import Talk
from edge.data.regions.marked import Marked, box, numbers, opened, text
from edge.data.regions.talks import SHOWS, WHAT, WHERE
from edge.errors import Damaged
from edge.text.pointing import MOST, PHRASE, PHRASE_END, REGIONS, REGIONS_END, name
from edge.vision.boxes import Box

_FIX = "give an image with a caption and phrases, or with phrases, or with regions"
_KEYS = ({"image", "caption", "phrases"}, {"image", "phrases"}, {"image", "regions"})


def read(file: Path, update: Callable[[bytes], object]) -> list[Marked]:
    """Every line of a file; a broken one is refused by its number."""
    found = [
        _line(value, file, where, number)
        for number, (where, value) in enumerate(objects([str(file)], update))
    ]
    if not found:
        raise Damaged(f"{file} has no line", fix=_FIX)
    return found


def _line(value: Mapping[str, Any], file: Path, where: str, number: int) -> Marked:
    if set(value) not in _KEYS:
        raise Damaged(f"{where} has {', '.join(map(repr, value))!s:.120}", fix=_FIX)
    picture, width, height = opened(file, value["image"], where)
    boxes = _Boxes((width, height), where)
    if "regions" in value:
        talks = _regions(numbers(value["regions"], f"{where}: regions"), boxes, number)
    elif "caption" in value:
        talks = _caption(value["caption"], value["phrases"], boxes, number)
    else:
        talks = _phrases(value["phrases"], boxes, number)
    return Marked(
        picture, where, width, height, tuple(boxes.all), tuple(boxes.all.values()), tuple(talks)
    )


class _Boxes:
    """Those of a picture, each once, with the first words that it is called by."""

    def __init__(self, size: tuple[int, int], where: str) -> None:
        self.size, self.where = size, where
        self.all: dict[Box, str] = {}

    def add(self, value: Any, words: str) -> int:
        found = box(value, self.size, self.where)
        self.all.setdefault(found, words)
        if len(self.all) > MOST:
            raise Damaged(f"{self.where} has more than {MOST} boxes", fix="give fewer of a picture")
        return list(self.all).index(found)


def _regions(values: Sequence[Any], boxes: _Boxes, number: int) -> list[Talk]:
    talks = []
    for at, one in enumerate(values):
        where = f"{boxes.where}: region {at}"
        if not isinstance(one, dict) or set(one) != {"box", "caption"}:
            raise Damaged(f"{where} is no box with a caption", fix=_FIX)
        said = text(one["caption"], f"the caption of region {at}", boxes.where).strip()
        referred = (boxes.add(one["box"], said),)
        question = WHAT[(number + at) % len(WHAT)]
        talks.append(Talk(topic="what", question=question, referred=referred, answer=said))
    return talks


def _caption(caption: Any, values: Any, boxes: _Boxes, number: int) -> list[Talk]:
    """One talk, in whose answer each phrase is followed by its regions; phrases are in the caption's order."""
    whole, answer, at = text(caption, "the caption", boxes.where), "", 0
    for words, regions in _each(values, boxes):
        start = whole.find(words, at)
        if start < 0:
            raise Damaged(
                f"{boxes.where}: the caption has no {words!r:.60} after letter {at}",
                fix="give phrases as they stand in the caption, in its order, each once",
            )
        answer += f"{whole[at:start]}{PHRASE}{words}{PHRASE_END}{_named(regions)}"
        at = start + len(words)
    question = SHOWS[number % len(SHOWS)]
    return [Talk(topic="shows", question=question, answer=answer + whole[at:], grounded=True)]


def _phrases(values: Any, boxes: _Boxes, number: int) -> list[Talk]:
    return [
        Talk(
            topic="where",
            question=WHERE[(number + at) % len(WHERE)].format(f"{PHRASE}{words}{PHRASE_END}"),
            answer=_named(regions),
        )
        for at, (words, regions) in enumerate(_each(values, boxes))
    ]


def _each(values: Any, boxes: _Boxes) -> list[tuple[str, list[int]]]:
    """Phrases and their boxes, by number."""
    out = []
    for at, one in enumerate(numbers(values, f"{boxes.where}: phrases")):
        where = f"{boxes.where}: phrase {at}"
        if not isinstance(one, dict) or set(one) != {"phrase", "boxes"}:
            raise Damaged(f"{where} is no phrase with boxes", fix=_FIX)
        words = text(one["phrase"], f"phrase {at}", boxes.where).strip()
        given = numbers(one["boxes"], f"{where}: boxes")
        out.append((words, [boxes.add(value, words) for value in given]))
    return out


def _named(regions: Sequence[int]) -> str:
    return f"{REGIONS}{''.join(map(name, dict.fromkeys(regions)))}{REGIONS_END}"
