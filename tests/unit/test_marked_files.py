"""A user's boxes: COCO's JSON and lines of phrases and regions, read whole; what is broken is refused by its number."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.data.regions import coco
from edge.data.regions.files import read
from edge.data.regions.marked import Marked
from edge.data.regions.scenes import Page, painted, scene
from edge.errors import EdgeError
from edge.text.grounded import read as answered
from edge.vision.pictures import measured, open_picture

Image = pytest.importorskip("PIL.Image")
WIDTH, HEIGHT = 60, 40
BOX = [4, 5, 20, 30]
Change = Callable[[dict[str, Any]], object]


def picture(folder: Path, name: str = "1.png") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(file)


def entries() -> dict[str, Any]:
    return {
        "info": {"year": 2026, "more": [1, {"a": []}]},
        "annotations": [  # before what they are of, as some tools write them
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [4, 5, 16, 25.5], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 60.4, 40]},
        ],
        "images": [
            {"id": 7, "file_name": "1.png", "width": WIDTH, "height": HEIGHT},
            {"id": "b", "file_name": "more/2.png"},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def written(folder: Path, content: Any, name: str = "it.json") -> str:
    for file in ("1.png", "more/2.png"):
        picture(folder, file)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def lines(folder: Path, *values: Any) -> str:
    return written(folder, "\n".join(map(json.dumps, values)), "it.jsonl")


def test_coco_is_read_whatever_comes_first(tmp_path: Path) -> None:
    found = read([written(tmp_path, entries())])
    first, second = found.marked
    assert first.boxes == ((4, 5, 20, 30.5), (0, 0, 60, 40))  # a rounded side is cut
    assert first.names == ("dog", "cat")
    assert (first.width, first.height) == (WIDTH, HEIGHT)
    assert not first.outlined
    assert second.file == tmp_path / "more" / "2.png"
    assert second.boxes == ()  # a picture of nothing teaches, too (chainer-fcis#10)
    assert first.picture().rgb.shape == (HEIGHT, WIDTH, 3)
    assert not found.left_out


def test_crowds_and_boxes_of_no_area_are_left_out_and_counted(tmp_path: Path) -> None:
    """COCO's own train file has boxes of no height (cocoapi#355); some say nothing of crowds (detectron2#1966)."""
    whole = entries()
    whole["annotations"] += [
        {"image_id": 7, "category_id": 3, "bbox": [5, 5, 1.03, 0.0]},
        {"image_id": 7, "category_id": 3, "bbox": [5, 5, 9, 9], "iscrowd": 1},
    ]
    found = read([written(tmp_path, whole)])
    assert len(found.marked[0].boxes) == 2
    assert found.left_out == {"of no area": 1, "of crowds": 1}


@pytest.mark.parametrize("categories", [None, [], [{"id": 1, "name": "object"}]])
def test_boxes_without_kinds_are_outlines(categories: Any, tmp_path: Path) -> None:
    """As those of SA-1B in this form."""
    whole = entries()
    whole["categories"] = categories or []
    if categories is None:
        del whole["categories"]
    first = read([written(tmp_path, whole)]).marked[0]
    assert first.outlined
    assert first.names == ("", "")


def note(**fields: Any) -> Change:
    return lambda whole: whole["annotations"][1].update(fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (note(bbox=[1, 2, 3]), r"annotations\[1\]: bbox is \[1, 2, 3\]"),
        (note(bbox="all"), r"annotations\[1\]: bbox is 'all'"),
        (note(bbox=[1, 2, True, 4]), r"annotations\[1\]: bbox"),
        (note(bbox=[1, 2, -3, 4]), r"annotations\[1\]: bbox is .*, no box of a picture"),
        (note(bbox=[float("nan"), 2, 3, 4]), r"annotations\[1\]: bbox"),
        (note(bbox=[1, 2, 1e300, 4]), r"annotations\[1\]: bbox"),
        (note(bbox=[26, 5, 61.3, 30]), r"annotations\[1\]: the box 26, 5, 87.3, 35 leaves its picture of 60 x 40"),
        (note(image_id=8), r"annotations\[1\]: there is no image 8"),
        (note(image_id=None), r"annotations\[1\]: image_id is None"),
        (note(category_id=9), r"annotations\[1\]: there is no category 9"),
        (lambda w: w["annotations"].append(5), r"annotations\[2\] is no object"),
        (lambda w: w["images"].clear(), "lists no images"),
        (lambda w: w["images"][1].update(id=7), r"images\[1\]: an image before it has the id 7"),
        (lambda w: w["images"][1].update(file_name="../1.png"), r"images\[1\]: '../1.png' is not below"),
        (lambda w: w["images"][1].update(file_name="/etc/passwd"), r"images\[1\]: .* is not below"),
        (lambda w: w["images"][1].update(file_name="3.png"), r"images\[1\]: there is no picture"),
        (lambda w: w["images"][1].update(file_name="3" * 5000), r"images\[1\]: '333"),
        (lambda w: w["images"][1].update(file_name=None), r"images\[1\] names no picture"),
        (lambda w: w["images"][0].update(width=HEIGHT, height=WIDTH), r"\[0\] says .* is 40 x 60, and it is 60 x 40"),
        (lambda w: w["images"][0].update(width=-1, height=-1), r"is -1 x -1"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_coco_is_refused_by_its_number(
    change: Change, words: str, tmp_path: Path
) -> None:
    whole = entries()
    change(whole)
    with pytest.raises(EdgeError, match=words):
        read([written(tmp_path, whole)])


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"images": [', '{"images": [}', '{"images": [{"id": 1}}', '{"images": [{"id": 1},]}',
        '{"a": 1,}', '{"a" 1}', "{1: 2}", '{"a": 1} x',
        '{"images": ' + "[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": NaN',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is not JSON"):
        read([written(tmp_path, text)])


def test_a_table_that_comes_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(entries())[:-1] + ', "images": [{"id": 9, "file_name": "1.png"}]}'
    with pytest.raises(EdgeError, match="has images twice"):
        read([written(tmp_path, text)])


def test_more_boxes_than_a_picture_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "MOST", 1)
    with pytest.raises(EdgeError, match=r"images\[0\]: 2 boxes in one picture"):
        read([written(tmp_path, entries())])
    monkeypatch.setattr(coco, "BYTES", 10)
    with pytest.raises(EdgeError, match="has more than"):
        read([written(tmp_path, entries())])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(value=st.dictionaries(st.text(), PLAIN, max_size=4), indent=st.sampled_from([None, 0, 3]))
def test_walking_through_json_meets_every_element(
    value: dict[str, Any], indent: int | None
) -> None:
    want = [
        (name, number, one)
        for name, some in value.items() if isinstance(some, list)
        for number, one in enumerate(some)
    ]  # fmt: skip
    assert list(coco._walked(json.dumps(value, indent=indent))) == want


def test_a_caption_has_phrases_where_they_stand(tmp_path: Path) -> None:
    line = {
        "image": "1.png",
        "caption": "A man and a man ride a horse.",
        "phrases": [
            {"phrase": "A man", "boxes": [BOX]},
            {"phrase": "a man", "boxes": [[0, 0, 9, 9]]},
            {"phrase": "a horse", "boxes": [[1, 1, 50, 39.5], BOX]},
        ],
    }
    (found,) = read([lines(tmp_path, line)]).marked
    assert found.boxes == ((4, 5, 20, 30), (0, 0, 9, 9), (1, 1, 50, 39.5))
    assert found.names == ("A man", "a man", "a horse")
    (talk,) = found.talks
    assert talk.grounded
    assert talk.answer == (
        "<p>A man</p><roi><r0></roi> and <p>a man</p><roi><r1></roi> ride <p>a horse</p><roi><r2><r0></roi>."
    )
    reading = answered(talk.answer, 3)
    assert reading.text == line["caption"]
    assert [(one.phrase, one.region) for one in reading.grounded] == [
        ("A man", 0), ("a man", 1), ("a horse", 2), ("a horse", 0),
    ]  # fmt: skip


def test_phrases_alone_are_asked_for(tmp_path: Path) -> None:
    line = {"image": "1.png", "phrases": [{"phrase": "the man on the left", "boxes": [BOX]}]}
    (talk,) = read([lines(tmp_path, line)]).marked[0].talks
    assert "<p>the man on the left</p>" in talk.question
    assert talk.answer == "<roi><r0></roi>"
    assert not talk.grounded


def test_a_region_is_described(tmp_path: Path) -> None:
    regions = [{"box": BOX, "caption": " a red car "}, {"box": [0, 0, 2, 2], "caption": "sky"}]
    found = read([lines(tmp_path, {"image": "1.png", "regions": regions})]).marked[0]
    assert [(talk.answer, talk.referred) for talk in found.talks] == [
        ("a red car", (0,)),
        ("sky", (1,)),
    ]
    assert found.names == ("a red car", "sky")
    assert all(talk.question.count("<box>") == 1 for talk in found.talks)


def phrase(**fields: Any) -> dict[str, Any]:
    one = {"phrase": "A man", "boxes": [BOX], **fields}
    return {"image": "1.png", "caption": "A man runs.", "phrases": [one]}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"image": "1.png"}, "line 2 has 'image'"),
        ({**phrase(), "label": "x"}, "line 2 has"),
        ({**phrase(), "image": "../1.png"}, "line 2: '../1.png' is not below"),
        ({**phrase(), "image": "9.png"}, "line 2: there is no picture"),
        ({**phrase(), "image": 9}, "line 2 names no picture"),
        ({**phrase(), "caption": ""}, "line 2: the caption is no text"),
        ({**phrase(), "caption": "A man " * 1000}, "line 2: the caption has 6000 letters"),
        ({**phrase(), "caption": "A man <r1>"}, "line 2: the caption holds <r1>"),
        ({**phrase(), "phrases": []}, "line 2: phrases is no list"),
        ({**phrase(), "phrases": [1]}, "line 2: phrase 0 is no phrase"),
        (phrase(phrase="a man"), "line 2: the caption has no 'a man'"),
        (phrase(phrase="</p>"), "line 2: phrase 0 holds </p>"),
        (phrase(boxes=[]), "line 2: phrase 0: boxes is no list"),
        (phrase(boxes=[[1, 2, 3]]), r"line 2: \[1, 2, 3\] is no box"),
        (phrase(boxes=[[9, 2, 3, 4]]), "line 2: .* ends before it begins"),
        (phrase(boxes=[[1, 2, 3, float("inf")]]), "line 2: .* is no box"),
        (phrase(boxes=[[1, 2, 3, "4"]]), "line 2: .* is no box"),
        (phrase(boxes=[[1, 2, 62, 4]]), "line 2: the box 1, 2, 62, 4 leaves its picture of 60 x 40"),
        (phrase(boxes=[[0, y, 1 + x, 2] for x in range(59) for y in (0, 1)]), "line 2 has more than 100 boxes"),
        ({"image": "1.png", "regions": [{"box": BOX}]}, "line 2: region 0 is no box with a caption"),
        ({"image": "1.png", "regions": {}}, "line 2: regions is no list"),
        ({"image": "1.png", "regions": [{"box": BOX, "caption": "<p>"}]}, "line 2: .* holds <p>"),
    ],
)  # fmt: skip
def test_a_broken_line_is_refused_by_its_number(line: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=words):
        read([lines(tmp_path, phrase(), line)])


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, words in (
        ("no.json", "there is no file"),
        ("it.csv", "neither .json nor .jsonl"),
        ("no.jsonl", "no line"),
    ):
        if name != "no.json":
            (tmp_path / name).write_text("")
        with pytest.raises(EdgeError, match=words):
            read([str(tmp_path / name)])


def test_a_digest_tells_other_boxes_and_names_apart(tmp_path: Path) -> None:
    def digest(change: Change) -> str:
        whole = entries()
        change(whole)
        return read([written(tmp_path, whole)]).digest

    first = digest(lambda _: None)
    assert first == digest(lambda _: None)
    assert first != digest(note(bbox=[0, 0, 60.4, 39]))
    assert first != digest(note(category_id=3))
    assert first != digest(lambda w: w["images"][1].update(file_name="1.png"))


def test_a_picture_that_lies_on_its_side_is_measured_upright(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        image = Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / "1.jpg", exif=exif)
        upright = open_picture(tmp_path / "1.jpg")
        assert measured(tmp_path / "1.jpg") == (upright.width, upright.height)
    for content, words in ((b"GIF89a", "cannot be|none of"), (b"", "none of")):
        (tmp_path / "2.png").write_bytes(content)
        with pytest.raises(EdgeError, match=words):
            measured(tmp_path / "2.png")
    with pytest.raises(EdgeError, match="there is no file"):
        measured(tmp_path / "3.png")


def test_a_picture_that_became_another_is_refused(tmp_path: Path) -> None:
    (first, _) = read([written(tmp_path, entries())]).marked
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(first.file)
    with pytest.raises(EdgeError, match="was 60 x 40 and is 8 x 8"):
        first.picture()


def test_a_made_scene_and_a_line_are_the_same_to_who_learns(tmp_path: Path) -> None:
    """A scene that is written as a line reads back to its boxes and what is said of them."""
    made = scene(3, Page(width=112, height=112, marks=0))
    Image.fromarray(painted(made)).save(tmp_path / "3.png")
    (said,) = (talk for talk in made.talks if talk.topic == "shows")
    reading = answered(said.answer, len(made.boxes))
    phrases: dict[tuple[int, str], list[Any]] = {}
    for one in reading.grounded:
        phrases.setdefault((one.start, one.phrase), []).append(list(made.boxes[one.region]))
    line = {
        "image": "3.png",
        "caption": reading.text,
        "phrases": [{"phrase": words, "boxes": boxes} for (_, words), boxes in phrases.items()],
    }
    (found,) = read([lines(tmp_path, line)]).marked
    assert isinstance(found, Marked)
    assert sorted(found.boxes) == sorted(made.boxes)
    assert answered(found.talks[0].answer, len(found.boxes)).text == reading.text
    np.testing.assert_array_equal(found.picture().rgb, made.picture().rgb)


@pytest.mark.skipif(sys.platform == "win32", reason="files of other kinds")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "it.json")
    with pytest.raises(EdgeError, match="there is no file"):
        read([str(tmp_path / "it.json")])
