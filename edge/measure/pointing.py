"""How well a model that points finds what it is asked for.

One of a picture (RefCOCO, arXiv 1608.00272): how often the first box it names is the right one. All of a kind
(LVIS-Ground of Groma, arXiv 2404.13013): recall as COCO and LVIS (arXiv 1908.03195) average it, over ten overlaps and
then over kinds, by sizes; under AS-MANY, of as many boxes as there are things, the first ones.

K boxes that were named, T that are there: left, top, right, bottom in pixels.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.measure.found import OVERLAP, Found, found
from edge.measure.pictured import Question
from edge.text.pointing import PHRASE, PHRASE_END
from edge.typing import F64
from edge.vision.boxes import Box, overlaps

STEPS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # overlaps by which a thing is found
# Square pixels, both ends within, as pycocotools has it.
SIZES: Mapping[str, tuple[float, float]] = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, math.inf),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointed:
    """An answer. `kind`: of things that were asked for; `there` [T, 4], `areas` [T]: theirs, in square pixels;
    `named` [K, 4]: in the order of the answer.
    """

    kind: str
    there: F64
    areas: F64
    named: F64


def worded(question: Question) -> str:
    """As one of those that Groma was trained on, always the same: it marks what is asked for."""
    asked = f"{PHRASE}{question.asked}{PHRASE_END}"
    return f"Locate {asked} in the image." if question.one else f"Locate all {asked} in this image."


def judged(
    asked: Sequence[Question],
    answer: Callable[[Question], Sequence[Box]],
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, dict[str, float | int | None]]:
    """Ask them all. `one` and `all`: of questions about one thing, and about all of a kind; what there is of both."""
    of: dict[bool, list[Pointed]] = {True: [], False: []}
    for question in asked:
        named = np.array(answer(question), np.float64).reshape(-1, 4)
        of[question.one].append(
            Pointed(kind=question.asked, there=question.boxes, areas=question.areas, named=named)
        )
        advance(1)
    judges = (("one", True, accuracy), ("all", False, recalls))
    return {name: judge(of[one]) for name, one, judge in judges if of[one]}


def accuracy(answers: Sequence[Pointed]) -> dict[str, float | int | None]:
    """Of answers about one thing each: the share whose first box overlaps it by more than a half; its mean overlap;
    answers without a box, which are wrong.
    """
    shares = np.array(
        [overlaps(one.named[:1], one.there).max() if len(one.named) else 0.0 for one in answers]
    )
    right = float((shares > OVERLAP).mean()) if len(shares) else None
    return {
        "asked": len(answers),
        "accuracy": right,
        "accuracy_se": None if right is None else math.sqrt(right * (1 - right) / len(shares)),
        "mean_overlap": float(shares.mean()) if len(shares) else None,
        "without": sum(not len(one.named) for one in answers),
    }


def recalls(answers: Sequence[Pointed]) -> dict[str, float | int | None]:
    """Of answers about all things of a kind, under AS-MANY: `ar` over all overlaps, at one of them, and by size; None
    where there is nothing of it.
    """
    return {
        "asked": len(answers),
        "kinds": len({one.kind for one in answers}),
        "ar": recall(answers, STEPS),
        "ar50": recall(answers, STEPS[:1]),
        "ar75": recall(answers, STEPS[5:6]),
        **{f"ar_{name}": recall(answers, STEPS, ends) for name, ends in SIZES.items()},
        "without": sum(not len(one.named) for one in answers),
    }


def recall(
    answers: Sequence[Pointed], steps: Sequence[float], ends: tuple[float, float] = (0, math.inf)
) -> float | None:
    """The mean over overlaps and kinds of what is found of things of these sizes."""
    of: dict[tuple[str, float], Found] = defaultdict(Found)
    for one in answers:
        counted = (one.areas >= ends[0]) & (one.areas <= ends[1])
        for step in steps:
            as_many = one.named[: len(one.there)]
            of[one.kind, step] += found(as_many, one.there, step, counted)
    every = [total.recall for total in of.values() if total.there]
    return float(np.mean(every)) if every else None
