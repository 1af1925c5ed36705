"""A conversation about a picture as a model learns it: ids, which of them are answers, and where rows of regions stand.

K regions that are shown, T things of the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.data.regions.examples import Talk, renumbered
from edge.text.conversations import FormTemplate
from edge.text.pointing import FORM, SYSTEM, asked, shown
from edge.typing import F32
from edge.vision.boxes import corners, overlaps
from edge.vision.selection import Limits, select

_GUESS = 0.2  # the score of a thing that the detector may have missed, as Groma's code has it
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """`ids` and whether each is of an answer; `referred`: regions whose rows stand in the questions, in order."""

    ids: list[int]
    answers: list[bool]
    referred: list[int]


def regions_of(boxes: F32, scores: F32, there: F32, limits: Limits) -> tuple[F32, list[int]]:
    """The regions that are shown of proposals [N, 4] and what is there [T, 4] -> [K, 4], and of each thing the region
    that it is. A thing that was found is the proposal that found it; one that was not is a region, too.
    """
    every, good = boxes, scores
    if len(there):
        every = np.concatenate([boxes, there])
        good = np.concatenate([scores, np.full(len(there), _GUESS, np.float32)])
    chosen = select(every, good, limits)
    near = overlaps(corners(there), corners(chosen.boxes))  # [T, K]
    return chosen.boxes, near.argmax(axis=1).tolist()


def lesson(
    talks: Sequence[Talk], rows: int, count: int, region: Sequence[int], encode: Encode
) -> Lesson:
    """One conversation about a picture of so many rows and regions. `region`: of each box that talks name by number
    the region that it is.
    """
    template = FormTemplate(FORM, SYSTEM)
    ids: list[int] = []
    answers: list[bool] = []
    referred: list[int] = []
    before = template.render(shown(rows, count), generate=False)
    for talk in talks:
        named = [region[number] for number in talk.referred]
        question = asked(talk.asked, named, count)
        told = encode(f"{before}{FORM.user.format(question)}{FORM.answer}")
        said = encode(renumbered(talk.answer, region) + FORM.stop)
        ids += told + said
        answers += [False] * len(told) + [True] * len(said)
        referred += named
        before = ""
    return Lesson(ids, answers, referred)
