"""How answers with regions are judged: who knows all, who points elsewhere, who says nothing."""

import re
from collections.abc import Sequence

import pytest

from edge.data.regions.examples import Talk
from edge.data.regions.scenes import Scene, painted
from edge.data.regions.talks import TOPICS
from edge.measure.scenes import Said, Score, cases, judged, same, scores
from edge.text.grounded import read
from edge.vision.boxes import Box
from edge.vision.pictures import Picture

BOXES: tuple[Box, ...] = ((0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 10, 30))


class Knows:
    """Answers what should be answered, moved by so many pixels."""

    def __init__(self, moved: float = 0.0) -> None:
        self.moved = moved
        self.cases = list(cases(112, scenes=6, seed=1))
        self.asked: list[str] = []

    def __call__(self, picture: Picture, question: str, boxes: Sequence[Box]) -> Said:
        made, talk = self.cases[len(self.asked)]
        self.asked.append(question)
        assert (picture.rgb == painted(made)).all()
        assert list(boxes) == [made.boxes[number] for number in talk.referred]
        wanted = read(talk.answer, len(made.boxes))
        by = self.moved
        found = [made.boxes[one.region] for one in wanted.grounded]
        return Said(wanted.text, tuple((a + by, b + by, c + by, d + by) for a, b, c, d in found))


def total(found: list[Score]) -> tuple[int, int, int, int]:
    return tuple(
        sum(getattr(one, name) for one in found) for name in ("asked", "words", "boxes", "right")
    )  # type: ignore[return-value]


def test_who_knows_all_is_right_in_everything() -> None:
    one = Knows()
    found = scores(one, iter(one.cases))
    asked, words, boxes, right = total(found)
    assert asked == words == boxes == right == len(one.cases)
    assert {score.topic for score in found} <= set(TOPICS)
    assert {score.topic for score in found} >= {"what", "where", "shows", "absent"}


def test_who_points_elsewhere_has_words_alone() -> None:
    one = Knows(moved=60)
    asked, words, boxes, right = total(scores(one, iter(one.cases)))
    assert asked == words
    assert right == boxes < asked


def test_who_says_nothing_is_wrong() -> None:
    some = list(cases(112, scenes=4, seed=1))
    found = {one.topic: one for one in scores(lambda *_: Said("", ()), iter(some))}
    assert all(one.right == 0 for one in found.values())
    assert found["absent"].boxes == found["absent"].asked  # there is nothing to point at


def test_scenes_are_held_out_and_no_others_for_a_seed() -> None:
    first, again = (list(cases(112, scenes=3, seed=2)) for _ in range(2))
    assert first == again
    assert all(isinstance(made, Scene) and made.held for made, _ in first)
    assert len({made.page.width for made, _ in first}) == 3
    assert [made for made, _ in cases(112, scenes=3, seed=3)] != [made for made, _ in first]


@pytest.mark.parametrize(
    ("some", "others", "right"),
    [
        (BOXES, BOXES[::-1], True),
        (BOXES[:2], BOXES, False),
        (BOXES, BOXES[:2], False),
        ((BOXES[0], BOXES[0]), BOXES[:2], False),
        (((1, 1, 11, 11), BOXES[1]), BOXES[:2], True),
        (((6, 0, 16, 10), BOXES[1]), BOXES[:2], False),
        ((), (), True),
        ((), BOXES[:1], False),
    ],
)
def test_boxes_are_the_same_if_each_is_found_once(
    some: Sequence[Box], others: Sequence[Box], right: bool
) -> None:
    assert same(some, others) is right


def test_a_region_that_is_named_twice_is_one_box() -> None:
    talk = Talk(
        topic="shows", question="", answer="<p>a</p><roi><r1></roi> and <p>b</p><roi><r1></roi>"
    )
    assert judged(Said("a and b", (BOXES[1],)), talk, BOXES) == (True, True)
    assert judged(Said("a and c ", (BOXES[1],)), talk, BOXES) == (False, True)
    assert re.sub("<.*?>", "", talk.answer) == "a and b"
