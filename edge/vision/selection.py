"""Which of the regions that a network proposed a model is shown (Groma, arXiv 2404.13013, 3.2), and which of them are
a user's own.

N proposals, U boxes of a user, K regions that are kept. Boxes are middles and sizes as parts of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.errors import Damaged, EdgeError
from edge.typing import F32, I64
from edge.vision.boxes import corners, overlaps

MOST = 100  # regions, for which a tokenizer has names
_COCO, _SA1B = 0.4, 0.6  # what each of the two heads counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`score`: a region's is above it; `overlap`: with a better one it is no more than that; `most`: regions."""

    score: float = 0.15
    overlap: float = 0.6
    most: int = MOST

    def __post_init__(self) -> None:
        parts = 0 <= self.score < 1 and 0 <= self.overlap <= 1
        if not (parts and 1 <= self.most <= MOST):
            raise Damaged(
                f"regions are chosen by a score of {self.score}, an overlap of {self.overlap}, {self.most} at most",
                fix=f"parts of 1, and 1 to {MOST} regions",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """boxes: [K, 4], the best first; scores: [K]; rows: [K], where each lay: N and more are the user's boxes, in
    their order; referred: of each box of the user the region that it is, or lies nearest to.
    """

    boxes: F32
    scores: F32
    rows: I64
    referred: tuple[int, ...]


def fused(coco: F32, sa1b: F32) -> F32:
    """Logits of the head for things that have names, and of the one for all that has an outline -> scores, of the
    same shape: their geometric mean by weights.
    """
    doubts = (np.logaddexp(0, -x.astype(np.float64)) for x in (coco, sa1b))
    return np.exp(-sum(w * doubt for w, doubt in zip((_COCO, _SA1B), doubts, strict=True))).astype(
        np.float32
    )


def select(
    boxes: F32, scores: F32, limits: Limits | None = None, *, given: F32 | None = None
) -> Selection:
    """Proposals [N, 4] and their scores [N] -> the regions: above the score, the best of those that overlap, at most
    so many; the best one where none is good enough. Of equal scores the first wins. `given`: a user's boxes [U, 4],
    which are as good as can be: one is left out only for another that it overlaps.
    """
    limits = limits or Limits()
    given = np.zeros((0, 4), np.float32) if given is None else given
    if len(given) > limits.most:
        raise EdgeError(f"{len(given)} boxes are given", fix=f"give {limits.most} at most")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise Damaged(
            "what proposes regions gave boxes that are no numbers",
            fix="convert it in fp32: its numbers may be too large for less",
        )
    # A user's come first, as equals: a score that rounding left at 1 takes none of their places.
    every = np.concatenate([given, boxes])
    good = np.concatenate([np.ones(len(given), np.float32), scores])
    rows = _kept(corners(every), good, limits)
    if not len(rows):
        if not len(every):
            raise Damaged("no regions were proposed", fix="convert the model again")
        rows = np.array([good.argmax()])
    chosen = every[rows]
    near = overlaps(corners(given), corners(chosen))  # [U, K]
    return Selection(
        boxes=chosen,
        scores=good[rows],
        rows=np.where(rows < len(given), rows + len(boxes), rows - len(given)),
        referred=tuple(near.argmax(axis=1).tolist()),
    )


def rows_of(image: F32, regions: F32, referred: Sequence[int]) -> F32:
    """What stands in the places of a prompt, in their order: a picture's rows [I, D], the regions' [K, D], and
    those that a question refers to once more -> [I + K + U, D].
    """
    return np.concatenate([image, regions, regions[list(referred)]])


def _kept(boxes: F32, scores: F32, limits: Limits) -> I64:
    """Rows of corners [N, 4] that stay, the best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > np.float32(limits.score)]
    clash = overlaps(boxes[order], boxes[order]) > np.float32(limits.overlap)
    free = np.ones(len(order), bool)
    for at in range(len(order)):
        if free[at]:
            free[at + 1 :] &= ~clash[at, at + 1 :]
    return order[free][: limits.most]
