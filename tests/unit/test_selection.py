"""Regions chosen from proposals, against a slow loop in plain numbers and its laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Damaged, EdgeError
from edge.typing import F32
from edge.vision.boxes import corners, overlaps
from edge.vision.selection import MOST, Limits, fused, rows_of, select

EIGHTHS = st.integers(0, 8)
BOX = st.tuples(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS)
# Few values, so that some are equal, and some lie at the limits themselves.
SCORE = st.sampled_from([0, 0.125, 0.25, 0.5, 0.75, 1.0])
SCENE = st.lists(st.tuples(BOX, SCORE), min_size=1, max_size=12)
LIMITS = st.builds(
    Limits,
    score=st.sampled_from([0, 0.125, 0.25, 0.75]),
    overlap=st.sampled_from([0, 0.25, 0.5, 1]),
    most=st.integers(1, 6),
)


def boxes_of(some: list[tuple[int, int, int, int]]) -> F32:
    return np.array(some, np.float32).reshape(-1, 4) / 8


def share(a: list[float], b: list[float]) -> float:
    """Of middles and sizes, in plain numbers."""
    low = [max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)]
    high = [min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) for i in (0, 1)]
    common = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
    union = a[2] * a[3] + b[2] * b[3] - common
    return common / union if union else 0


def slowly(boxes: list[list[float]], scores: list[float], limits: Limits) -> list[int]:
    """Again and again the best that is left, whose neighbours go."""
    left = [i for i, score in enumerate(scores) if score > limits.score]
    kept: list[int] = []
    while left and len(kept) < limits.most:
        best = min(left, key=lambda i: (-scores[i], i))
        kept.append(best)
        left = [i for i in left if i != best and share(boxes[best], boxes[i]) <= limits.overlap]
    return kept or [min(range(len(scores)), key=lambda i: (-scores[i], i))]


@given(SCENE, LIMITS)
def test_the_loop_chooses_the_same(scene: list, limits: Limits) -> None:
    boxes, scores = boxes_of([box for box, _ in scene]), [score for _, score in scene]
    found = select(boxes, np.array(scores, np.float32), limits)
    want = slowly(boxes.tolist(), scores, limits)
    assert found.rows.tolist() == want
    np.testing.assert_array_equal(found.boxes, boxes[want])
    assert found.scores.tolist() == [scores[i] for i in want]
    assert found.referred == ()


@given(SCENE, st.lists(BOX, min_size=1, max_size=4), LIMITS)
def test_boxes_of_a_user_are_there(scene: list, mine: list, limits: Limits) -> None:
    """Each is kept, or lies under another that it overlaps; nothing else takes its place."""
    limits = Limits(score=limits.score, overlap=limits.overlap, most=max(limits.most, len(mine)))
    boxes, mine = boxes_of([box for box, _ in scene]), boxes_of(mine)
    found = select(boxes, np.array([score for _, score in scene], np.float32), limits, given=mine)
    assert len(found.referred) == len(mine)
    for i, at in enumerate(found.referred):
        row = int(found.rows[at])
        own = len(boxes) + i
        near = share(mine[i].tolist(), found.boxes[at].tolist())
        assert own in found.rows.tolist() or near > limits.overlap
        if mine[i].prod() and row == own:
            assert near == 1
    every = np.concatenate([boxes, mine])
    np.testing.assert_array_equal(every[found.rows], found.boxes)


@given(SCENE, LIMITS)
def test_laws_of_what_is_kept(scene: list, limits: Limits) -> None:
    """At most so many, the best first, apart from each other; chosen again, the same."""
    boxes, scores = boxes_of([b for b, _ in scene]), np.array([s for _, s in scene], np.float32)
    found = select(boxes, scores, limits)
    assert 1 <= len(found.rows) <= limits.most
    assert (np.diff(found.scores) <= 0).all()
    shares = overlaps(corners(found.boxes), corners(found.boxes))
    assert (shares[np.triu_indices(len(shares), 1)] <= limits.overlap).all()
    again = select(found.boxes, found.scores, limits)
    np.testing.assert_array_equal(again.boxes, found.boxes)


def test_a_score_is_above_the_limit_and_not_at_it() -> None:
    apart = boxes_of([(1, 1, 1, 1), (5, 5, 1, 1)])
    scores = np.array([0.15, 0.1500001], np.float32)
    assert select(apart, scores).rows.tolist() == [1]


def test_equal_boxes_of_equal_scores_are_one() -> None:
    """CV-CUDA#292: both stayed."""
    twice = boxes_of([(4, 4, 2, 2)] * 3)
    assert select(twice, np.full(3, 0.5, np.float32)).rows.tolist() == [0]


def test_the_best_where_none_is_good_enough() -> None:
    boxes = boxes_of([(1, 1, 1, 1), (5, 5, 1, 1), (7, 7, 1, 1)])
    assert select(boxes, np.array([0.01, 0.1, 0.1], np.float32)).rows.tolist() == [1]


def test_at_most_a_hundred() -> None:
    """As many as there are names."""
    side = np.linspace(0.01, 0.99, 18, dtype=np.float32)
    x, y = (a.ravel() for a in np.meshgrid(side, side))
    boxes = np.stack([x, y, *[np.full(324, 0.02, np.float32)] * 2], axis=1)
    scores = np.linspace(0.2, 0.9, 324, dtype=np.float32)
    mine = boxes_of([(4, 4, 2, 2)])
    found = select(boxes, scores, given=mine)
    assert len(found.rows) == MOST
    assert found.rows[:2].tolist() == [324, 323]
    assert found.referred == (0,)


def test_a_user_s_box_before_a_proposal_of_the_same_score() -> None:
    """What is asked about is never another box, were it as sure as float32 can say."""
    near = boxes_of([(4, 4, 3, 3)])
    mine = np.array([[0.5, 0.5, 0.4, 0.4]], np.float32)
    found = select(near, np.ones(1, np.float32), given=mine)
    assert found.rows.tolist() == [1]
    np.testing.assert_array_equal(found.boxes, mine)


def test_a_box_given_twice_is_one_region() -> None:
    mine = boxes_of([(4, 4, 2, 2), (1, 1, 2, 2), (4, 4, 2, 2)])
    found = select(boxes_of([]), np.zeros(0, np.float32), given=mine)
    assert found.rows.tolist() == [0, 1]
    assert found.referred == (0, 1, 0)


@settings(max_examples=50)
@given(st.floats(-80, 80, width=32), st.floats(-80, 80, width=32))
def test_scores_are_the_two_heads_together(a: float, b: float) -> None:
    """The definition itself, in float64: coco^0.4 sa1b^0.6."""
    want = (1 / (1 + math.exp(-a))) ** 0.4 * (1 / (1 + math.exp(-b))) ** 0.6
    found = fused(np.array([a], np.float32), np.array([b], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [want], rtol=1e-6, atol=0)


def test_sure_and_unsure_beyond_measure() -> None:
    """Where exp alone would be infinite."""
    big, small = np.full(1, 3e38, np.float32), np.full(1, -3e38, np.float32)
    assert fused(big, big).tolist() == [1]
    assert fused(small, big).tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    """gaze#234: it was sorted."""
    boxes, scores = boxes_of([(4, 4, 2, 2), (1, 1, 2, 2)]), np.full(2, 0.5, np.float32)
    with pytest.raises(Damaged, match="no numbers") as caught:
        select(boxes, np.array([0.5, bad], np.float32))
    assert "fp32" in caught.value.fix
    boxes[1, 2] = bad
    with pytest.raises(Damaged, match="no numbers"):
        select(boxes, scores)


def test_none_proposed_and_too_many_given() -> None:
    none, nothing = boxes_of([]), np.zeros(0, np.float32)
    with pytest.raises(Damaged, match="no regions"):
        select(none, nothing)
    with pytest.raises(EdgeError, match="3 boxes"):
        select(none, nothing, Limits(most=2), given=boxes_of([(4, 4, 2, 2)] * 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": 1.0},
        {"score": -0.1},
        {"overlap": 1.5},
        {"most": 0},
        {"most": 101},
        {"score": math.nan},
    ],
)
def test_limits_that_are_none(wrong: dict) -> None:
    """A manifest may be a stranger's."""
    with pytest.raises(Damaged, match="regions are chosen by"):
        Limits(**wrong)


def test_rows_in_the_order_of_their_places() -> None:
    image, regions = np.zeros((2, 3), np.float32), np.arange(9, dtype=np.float32).reshape(3, 3)
    rows = rows_of(image, regions, (2, 0))
    assert rows.tolist() == [[0] * 3] * 2 + [*regions.tolist(), [6, 7, 8], [0, 1, 2]]
    assert rows_of(image, regions, ()).shape == (5, 3)
