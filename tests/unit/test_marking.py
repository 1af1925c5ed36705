"""Boxes drawn on pictures of any kind: what is drawn does not depend on what lies under it, and is legible there."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs '.[vision]'")
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from edge.errors import EdgeError
from edge.typing import U8
from edge.vision.boxes import Box
from edge.vision.marking import MOST, Mark, encoded, format_of, marked, marks_of, numbered, save
from edge.vision.palette import BLACK, WHITE, colours, contrast
from edge.vision.pictures import Picture, open_picture

W, H = 320, 240
DOG = Mark((40, 60, 200, 180), 1, "a dog")


def plain(colour: tuple[int, int, int] = WHITE, width: int = W, height: int = H) -> Picture:
    return Picture(rgb=np.full((height, width, 3), colour, np.uint8))


def drawn(marks: list[Mark], width: int = W, height: int = H) -> tuple[U8, np.ndarray]:
    """On white, and which pixels were drawn: those that are alike on white and on black, which no blend is."""
    over = [marked(plain(ground, width, height), marks) for ground in (WHITE, BLACK)]
    return over[0], (over[0] == over[1]).all(axis=2)


def outlined(box: Box, line: int = 2) -> np.ndarray:
    """The pixels of a box's lines, black and white ones included, by their definition."""
    left, top, right, bottom = map(int, box)
    out = np.zeros((H, W), bool)
    out[top:bottom, left:right] = True
    out[top + line + 2 : bottom - line - 2, left + line + 2 : right - line - 2] = False
    return out


def test_lines_lie_within_the_box_and_labels_outside_if_there_is_room() -> None:
    shown, mask = drawn([DOG])
    lines = outlined(DOG.box)
    assert mask[lines].all()
    below = np.zeros_like(mask)
    below[60:] = True
    np.testing.assert_array_equal(mask & below, lines)
    rows, columns = np.nonzero(mask & ~below)
    assert rows.max() == 59  # it stands on the box
    assert columns.min() == 40
    assert (shown[~mask] == 255).all()
    # From the outside in.
    ring = shown[120, 40:44].tolist()
    assert ring == [[*BLACK], *[[*colours(1)[0]]] * 2, [*WHITE]]


@settings(max_examples=30)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_lines_are_seen_on_any_ground(ground: tuple[int, int, int]) -> None:
    shown = marked(plain(ground), [DOG])
    across = {tuple(pixel) for pixel in shown[120, 40:44].tolist()}
    assert max(contrast(ground, (r, g, b)) for r, g, b in across) >= 4.5


def test_every_label_is_legible() -> None:
    """Of the ink and the colour under it, and of nothing of the picture."""
    rng = np.random.default_rng(0)
    noise = Picture(rgb=rng.integers(0, 256, (H, W, 3), np.uint8))
    for number in range(1, 30):
        mark = Mark(DOG.box, number, "a dog")
        shown, mask = drawn([mark])
        np.testing.assert_array_equal(marked(noise, [mark])[mask], shown[mask])
        mask[60:] = False
        label = shown[:60][mask[:60]]
        ground = colours(number)[-1]
        found = {tuple(pixel) for pixel in label.tolist()}
        assert max(contrast(ground, (r, g, b)) for r, g, b in found) >= 4.5
        assert (label == ground).all(axis=1).mean() > 0.5


SIDE = st.one_of(st.integers(-50, 400), st.floats(-1e9, 1e9))
MARKS = st.lists(
    st.builds(
        Mark,
        st.tuples(SIDE, SIDE, SIDE, SIDE),
        st.integers(1, 40),
        st.one_of(
            st.text(max_size=30), st.sampled_from(["a dog", "x" * 5000, "狗", "\ud800\x00\n"])
        ),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), MARKS)
def test_any_box_on_any_picture(width: int, height: int, marks: list[Mark]) -> None:
    """Pillow#8149: inverted ones, of no area, outside, on pictures of a pixel."""
    picture = plain((9, 99, 199), width, height)
    before = picture.rgb.copy()
    shown = marked(picture, marks)
    assert shown.shape == (height, width, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(picture.rgb, before)
    np.testing.assert_array_equal(marked(picture, marks), shown)
    if not marks:
        np.testing.assert_array_equal(shown, before)


@pytest.mark.parametrize(
    "box",
    [
        (100, 100, 100, 100),
        (101, 100, 99, 102),
        (0, 0, 1, 1),
        (319, 239, 320, 240),
        (-9, -9, -5, -5),
    ],
)
def test_a_box_of_no_size_is_seen(box: Box) -> None:
    """All its lines, where it is, or nearest to it."""
    shown, _ = drawn([Mark(box, 1)])
    x, y = min(max(box[0], 0), W - 1), min(max(box[1], 0), H - 1)
    near = shown[max(int(y) - 9, 0) : int(y) + 9, max(int(x) - 9, 0) : int(x) + 9]
    found = {tuple(pixel) for pixel in near.reshape(-1, 3).tolist()}
    assert {BLACK, WHITE, colours(1)[0]} <= found


def test_a_box_of_no_size_is_in_the_middle_of_its_lines() -> None:
    shown, _ = drawn([Mark((100, 100, 100, 100), 1)])
    columns = np.nonzero((shown[100] != 255).any(axis=1))[0]
    assert columns.min() + columns.max() + 1 == 201


def test_a_small_box_within_a_large_one() -> None:
    """The large one's lines do not hide it, whichever comes first."""
    large, small = Mark((40, 60, 200, 180), 1), Mark((40, 60, 60, 75), 2)
    for marks in ([large, small], [small, large]):
        shown = marked(plain(), marks)
        assert shown[74, 50].tolist() == [*BLACK]
        assert shown[72, 50].tolist() == [*colours(2)[1]]
        assert shown[70, 41].tolist() == [*colours(2)[1]]  # where their sides are one


def text_of(phrase: str, box: Box = (10, 60, 310, 180)) -> U8:
    """The label's pixels, above the box."""
    return marked(plain(), [Mark(box, 1, phrase)])[:60]


@pytest.mark.parametrize("phrase", ["", " \n", "狗", "a 狗", "\u200b", "a\x00b", "\ufffd"])
def test_letters_that_the_font_lacks(phrase: str) -> None:
    """ultralytics#17951, supervision#1630: squares in their place. The number alone says which it is."""
    np.testing.assert_array_equal(text_of(phrase), text_of(""))


def test_accents_that_the_font_lacks() -> None:
    np.testing.assert_array_equal(text_of("un café"), text_of("un cafe"))
    assert (text_of("un cafe") != text_of("")).any()


def test_another_font(tmp_path: Path) -> None:
    default = ImageFont.load_default(11)
    assert isinstance(default.path, io.BytesIO)
    file = tmp_path / "a.ttf"
    file.write_bytes(default.path.getvalue())
    np.testing.assert_array_equal(marked(plain(), [DOG], font=file), marked(plain(), [DOG]))
    file.write_bytes(b"no font")
    with pytest.raises(EdgeError, match=r"a\.ttf is no font"):
        marked(plain(), [DOG], font=file)


def test_long_phrases_end_in_dots_and_stay_in_the_picture() -> None:
    """ultralytics#13529."""
    long = "a very long name for a small thing " * 20
    label = text_of(long, (250, 60, 310, 180))
    columns = np.nonzero((label != 255).any(axis=(0, 2)))[0]
    assert columns.max() < W
    assert W / 6 < columns.max() - columns.min() < W / 3 + 1
    assert (label != text_of("a very long name", (250, 60, 310, 180))).any()


def test_a_phrase_has_one_number_and_a_box_one_phrase() -> None:
    first, second, third = (0.0, 0.0, 9.0, 9.0), (5.0, 5.0, 9.0, 9.0), (7.0, 7.0, 9.0, 9.0)
    named = [
        ("a dog", first),
        ("two cats", second),
        ("it", first),
        ("two cats", third),
        ("", third),
    ]
    assert marks_of(named) == [
        Mark(first, 1, "a dog"),
        Mark(second, 2, "two cats"),
        Mark(third, 2, "two cats"),
    ]
    assert marks_of([("", first), ("", second)]) == [Mark(first, 1), Mark(second, 2)]
    assert marks_of([]) == []


def test_too_many_boxes() -> None:
    assert marked(plain(), [DOG] * MOST).shape == (H, W, 3)
    with pytest.raises(EdgeError, match="too many"):
        marked(plain(), [DOG] * (MOST + 1))


@pytest.mark.parametrize(
    ("name", "form"), [("b.png", "PNG"), ("b.JPG", "JPEG"), ("b.jpeg", "JPEG")]
)
def test_files(name: str, form: str) -> None:
    """What was drawn comes back; EXIF of the picture below does not."""
    stored, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side; open_picture turns it
    exif[0x010F] = "a camera"
    Image.fromarray(plain().rgb).save(stored, "JPEG", exif=exif)
    picture = open_picture(stored.getvalue())
    shown = marked(picture, [DOG])
    assert shown.shape == (W, H, 3)
    assert format_of(Path(name)) == form
    content = encoded(shown, form)
    assert b"camera" not in content
    again = open_picture(content).rgb.astype(int)
    assert np.abs(again - shown).mean() < (0.1 if form == "PNG" else 4)


@pytest.mark.parametrize(
    "name", ["boxes", "boxes.gif", "boxes.webp", "boxes.png.exe", ".png", "x" * 300]
)
def test_files_that_are_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="can be written"):
        save(tmp_path / name, plain(), [DOG])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EdgeError, match="can be written") as caught:
        format_of(Path(name))
    assert ".png" in caught.value.fix


@pytest.mark.parametrize("name", ["b.png", "b.jpeg"])
def test_saved_whole(name: str, tmp_path: Path) -> None:
    """And over what was there."""
    (tmp_path / name).write_bytes(b"before")
    save(tmp_path / name, plain(), [DOG])
    assert [file.name for file in tmp_path.iterdir()] == [name]
    want = encoded(marked(plain(), [DOG]), format_of(Path(name)))
    assert (tmp_path / name).read_bytes() == want


def test_a_file_is_not_left_in_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a full disk what was there before stays."""
    file = tmp_path / "b.png"
    file.write_bytes(b"before")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(content[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save(file, plain(), [DOG])
    assert file.read_bytes() == b"before"


def test_set_of_marks() -> None:
    boxes = [(float(x), 100.0, x + 30.0, 130.0) for x in range(0, 300, 60)]
    assert numbered(boxes) == [Mark(box, at + 1) for at, box in enumerate(boxes)]
    shown = marked(plain(), numbered(boxes))
    for (left, top, _, bottom), colour in zip(boxes, colours(5), strict=True):
        assert shown[int(top + bottom) // 2, int(left) + 1].tolist() == [*colour]
    assert numbered([]) == []


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (Mark(DOG.box, 0), "the number 0"),
        (Mark(DOG.box, MOST + 1), f"the number {MOST + 1}"),
        (Mark((0, 0, float("nan"), 9), 1), "nowhere"),
        (Mark((0, 0, float("inf"), 9), 1), "nowhere"),
    ],
)
def test_marks_that_are_none(mark: Mark, said: str) -> None:
    """The last colour is not that of number 0."""
    with pytest.raises(EdgeError, match=said):
        marked(plain(), [DOG, mark])


class HasAll:
    """A font that draws something for every letter, and says that it has them all."""

    def __init__(self, size: int) -> None:
        self._font = ImageFont.load_default(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._font, name)

    def getmask(self, text: str, *rest: Any) -> Any:
        return self._font.getmask("i" if text == "\uffff" else text, *rest)


@pytest.mark.parametrize("phrase", ["שלום", "سلام", "नमस्ते", "a שלום"])
def test_scripts_that_would_be_drawn_wrongly(phrase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set one by one from left to right, they would read backwards, or apart."""
    monkeypatch.setattr("edge.vision.marking._face", lambda font, size: HasAll(size))
    np.testing.assert_array_equal(text_of(phrase), text_of(""))
    assert (text_of("собака") != text_of("")).any()
