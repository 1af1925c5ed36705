"""Labels of boxes: within the picture, and apart wherever a search of every pixel finds room."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.boxes import Box
from edge.vision.placing import Place, Size, place

W, H = 24, 16
SIDE = st.integers(0, 24)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE).map(
    lambda s: (
        min(s[0], s[2]),
        min(s[1], s[3], H),
        max(s[0], s[2]),
        min(max(s[1], s[3]), H),
    )
)
SIZE = st.tuples(st.integers(1, 12), st.integers(1, 6))


def filled(at: Place, size: Size) -> np.ndarray:
    """The pixels of a label in the picture."""
    out = np.zeros((H, W), bool)
    out[at[1] : at[1] + size[1], at[0] : at[0] + size[0]] = True
    return out


@given(st.lists(st.tuples(BOX, SIZE), min_size=1, max_size=10))
def test_apart_wherever_there_is_room(some: list[tuple[Box, Size]]) -> None:
    """From labels, and from boxes that a label would hide: against a search of every pixel, label by label."""
    boxes, sizes = [box for box, _ in some], [size for _, size in some]
    labels = np.zeros((H, W), bool)
    for at, size in zip(place(boxes, sizes, W, H), sizes, strict=True):
        assert at is not None
        label, taken = filled(at, size), labels.copy()
        for left, top, right, bottom in boxes:
            if right - left <= size[0] and bottom - top <= size[1]:
                taken |= filled((left, top), (right - left, bottom - top))
        assert label.sum() == size[0] * size[1], "it leaves the picture"
        if (label & taken).any():
            every = [(x, y) for x in range(W - size[0] + 1) for y in range(H - size[1] + 1)]
            assert all((filled(p, size) & taken).any() for p in every), "there was room"
        labels |= label


@pytest.mark.parametrize(
    ("box", "want"),
    [
        ((5, 8, 15, 14), (5, 5)),  # above
        # norfair#284, bbox-visualizer#5: no room above; inside then
        ((5, 1, 15, 14), (5, 0)),
        # ultralytics#13529: it left the picture at the right
        ((20, 8, 24, 14), (17, 5)),
        ((0, 0, 24, 16), (0, 0)),
        ((0, 16, 0, 16), (0, 13)),
        ((24, 0, 24, 0), (17, 0)),
    ],
)
def test_the_usual_places(box: Box, want: Place) -> None:
    assert place([box], [(7, 3)], W, H) == [want]


def test_one_box_twice() -> None:
    """tensorflow/models#2805: labels lay over each other."""
    box = (5, 8, 15, 14)
    found = place([box] * 4, [(7, 3)] * 4, W, H)
    assert found[:2] == [(5, 5), (5, 8)]
    assert len(set(found)) == 4


def test_a_small_box_is_not_hidden() -> None:
    """tfrecord-viewer#14: by its own label, or another's."""
    tiny = (0, 0, 4, 3)
    assert place([tiny, (9, 8, 19, 14)], [(7, 3), (7, 3)], W, H) == [(0, 3), (9, 5)]
    assert place([(0, 3, 15, 14), tiny], [(7, 3), (7, 3)], W, H)[0] == (8, 0)


def test_a_label_that_no_picture_holds() -> None:
    box = (0, 0, 5, 5)
    assert place([box] * 3, [(25, 3), (7, 17), (24, 16)], W, H) == [None, None, (0, 0)]


def test_none() -> None:
    assert place([], [], W, H) == []


def test_where_no_room_is_it_covers_little() -> None:
    """The second fits nowhere: it covers one column rather than all."""
    first, second = place([(0, 6, 14, 12), (0, 6, 24, 12)], [(13, 16), (12, 16)], W, H)
    assert first == (0, 0)
    assert second == (12, 0)


def test_a_hundred_of_one_place() -> None:
    """Every region at once, each label somewhere of its own."""
    found = place([(600, 400, 700, 500)] * 100, [(90, 20)] * 100, 1280, 960)
    taken = np.zeros((960, 1280), np.int64)
    for at in found:
        assert at is not None
        taken[at[1] : at[1] + 20, at[0] : at[0] + 90] += 1
        assert abs(at[0] - 600) + abs(at[1] - 400) < 350, "it is far from its box"
    assert taken.max() == 1
    assert taken.sum() == 100 * 90 * 20
