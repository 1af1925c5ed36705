"""What a model that points is judged by: pycocotools' own numbers, and laws of recall."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from edge.errors import Damaged, EdgeError
from edge.measure.found import found
from edge.measure.pictured import questions
from edge.measure.pointing import STEPS, Pointed, accuracy, recall, recalls
from edge.vision.boxes import overlaps


def answers(seed: int) -> list[Pointed]:
    """Things of three kinds in twelve pictures, of all sizes, and boxes near some of them."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(12):
        for kind in ("dog", "cat", "cup"):
            count = int(rng.integers(0, 5))
            if not count:
                continue
            low = rng.integers(0, 300, (count, 2))
            there = np.concatenate([low, low + rng.integers(8, 160, (count, 2))], axis=1)
            near = there[rng.integers(0, count, int(rng.integers(0, 6)))]
            named = near + rng.integers(-9, 10, near.shape)
            named[:, 2:] = np.maximum(named[:, 2:], named[:, :2] + 1)
            sides = there[:, 2:] - there[:, :2]
            out.append(
                Pointed(
                    kind=kind,
                    there=there.astype(np.float64),
                    areas=sides.prod(axis=1).astype(np.float64),
                    named=named.astype(np.float64),
                )
            )
    return out


# By COCOeval of pycocotools 2.0.11 of the same boxes: `bbox`, scores that fall in the order of the named boxes, of
# which there are no more than things; `recall` of what it accumulates, averaged where it is not -1.
GOLDEN: dict[int, dict[str, float]] = {
    0: {
        "ar": 0.302045,
        "ar50": 0.519698,
        "ar75": 0.371689,
        "ar_small": 0.025,
        "ar_medium": 0.291905,
        "ar_large": 0.395503,
    },
    1: {
        "ar": 0.35936,
        "ar50": 0.565821,
        "ar75": 0.368357,
        "ar_small": 0.0,
        "ar_medium": 0.345397,
        "ar_large": 0.437407,
    },
    2: {
        "ar": 0.279767,
        "ar50": 0.436312,
        "ar75": 0.288164,
        "ar_small": 0.25,
        "ar_medium": 0.21627,
        "ar_large": 0.41713,
    },
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_as_pycocotools_has_it(seed: int) -> None:
    got = recalls(answers(seed))
    assert {key: got[key] for key in GOLDEN[seed]} == pytest.approx(GOLDEN[seed], abs=1e-6)


def box(*sides: float) -> np.ndarray:
    return np.array([sides], np.float64)


def pointed(there: np.ndarray, named: np.ndarray, kind: str = "dog") -> Pointed:
    areas = (there[:, 2:] - there[:, :2]).prod(axis=1)
    return Pointed(kind=kind, there=there, areas=areas, named=named.reshape(-1, 4))


NONE = np.zeros((0, 4))


def test_one_thing_by_hand() -> None:
    """The first box alone counts; half of it is not more than a half; no box is wrong."""
    dog = box(0, 0, 10, 10)
    some = [
        pointed(dog, dog),
        pointed(dog, np.concatenate([box(50, 50, 60, 60), dog])),
        pointed(dog, box(0, 0, 10, 5)),
        pointed(dog, NONE),
    ]
    got = accuracy(some)
    assert got["asked"] == 4
    assert got["accuracy"] == 0.25
    assert got["accuracy_se"] == pytest.approx((0.25 * 0.75 / 4) ** 0.5)
    assert got["mean_overlap"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert got["without"] == 1


def test_as_many_as_there_are() -> None:
    """Whoever names everything is not thereby right: the first five of ten boxes hit three of five things."""
    there = np.concatenate([box(i * 20, 0, i * 20 + 10, 10) for i in range(5)])
    wrong = np.concatenate([box(i * 20, 90, i * 20 + 10, 99) for i in range(2)])
    got = recalls([pointed(there, np.concatenate([there[:3], wrong, there]))])
    assert got["ar"] == pytest.approx(0.6)
    assert got["ar50"] == pytest.approx(0.6)
    assert got["ar_small"] == pytest.approx(0.6)
    assert got["ar_medium"] is None
    assert recall([pointed(there, there)], STEPS) == 1


def test_kinds_count_alike() -> None:
    """However many things there are of each."""
    there = np.concatenate([box(i * 20, 0, i * 20 + 10, 10) for i in range(9)])
    some = [pointed(there, there), pointed(there[:1], NONE, "cat")]
    assert recalls(some)["ar"] == pytest.approx(0.5)


def test_a_thing_that_does_not_count_hides_no_other() -> None:
    """Two that overlap, of which one has another size: a box finds the one that counts, though the other is nearer."""
    there = np.concatenate([box(0, 0, 31, 31), box(0, 0, 33, 33)])
    named = box(0, 0, 31, 31)
    assert found(named, there, 0.5, np.array([False, True])).hits == 1
    assert found(named, there, 0.95, np.array([False, True])).hits == 0
    assert found(named, there, 0.95, np.array([True, False])).hits == 1


@given(st.integers(0, 10**6))
def test_laws(seed: int) -> None:
    """No more than the best assignment finds, and at least half of it; all, if all is named."""
    for one in answers(seed):
        for step in STEPS:
            hits = found(one.named, one.there, step).hits
            fit = overlaps(one.named, one.there) >= step
            best = fit[linear_sum_assignment(fit, maximize=True)].sum()
            assert best / 2 <= hits <= best
        assert found(one.there, one.there, 0.95).hits == len(one.there)


def test_nothing() -> None:
    assert recalls([])["ar"] is None
    assert accuracy([])["accuracy"] is None


# Files.


def write(folder: Path, data: Any) -> Path:
    file = folder / "asked.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


IMAGE = {"id": 1, "file_name": "a.jpg", "width": 90, "height": 60}
DOG = {"image_id": 1, "bbox": [10, 20, 30, 40], "area": 700.5, "category_id": 3}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "val2017").mkdir(parents=True)
    for name in ("a.jpg", "val2017/b.jpg"):
        (folder / name).write_bytes(b"")
    (tmp_path / "outside.jpg").write_bytes(b"")
    return folder


def test_one_of_a_picture(tmp_path: Path, pictures: Path) -> None:
    data = {"images": [{**IMAGE, "caption": " The left dog "}], "annotations": [DOG]}
    (got,) = questions(write(tmp_path, data), pictures)
    assert (got.picture, got.asked, got.one) == (pictures / "a.jpg", "The left dog", True)
    assert got.boxes.tolist() == [[10, 20, 40, 60]]
    assert got.areas.tolist() == [700.5]


def test_all_of_a_kind(tmp_path: Path, pictures: Path) -> None:
    """As LVIS has them: names with underscores, pictures by their address, of which the last parts are a file's."""
    other = {"id": 2, "coco_url": "http://images.cocodataset.org/val2017/b.jpg"}
    data = {
        "images": [IMAGE, other, {"id": 9, "file_name": "empty.jpg"}],
        "categories": [{"id": 3, "name": "Hot_dog"}, {"id": 4, "name": "cup"}],
        "annotations": [
            DOG,
            {**DOG, "bbox": [0, 0, 5, 6], "area": None} | {"category_id": 4},
            {**DOG, "bbox": [1, 1, 2, 2]},
            {**DOG, "image_id": 2},
            {**DOG, "iscrowd": 1},
        ],
    }
    data["annotations"][1].pop("area")
    got = questions(write(tmp_path, data), pictures)
    assert [(q.picture.name, q.asked, len(q.boxes)) for q in got] == [
        ("a.jpg", "hot dog", 2),
        ("a.jpg", "cup", 1),
        ("b.jpg", "hot dog", 1),
    ]
    assert got[1].areas.tolist() == [30]
    assert not any(q.one for q in got)


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/etc/passwd", "missing.jpg", "x" * 999, "a\0b", "."]
)
def test_pictures_that_are_not_there(tmp_path: Path, pictures: Path, name: str) -> None:
    """Nobody's list opens another's files."""
    data = {"images": [{**IMAGE, "file_name": name, "caption": "it"}], "annotations": [DOG]}
    with pytest.raises(EdgeError, match="has no picture"):
        questions(write(tmp_path, data), pictures)


@pytest.mark.parametrize(
    "data",
    [
        "[",
        "[]",
        {},
        {"images": 5, "annotations": []},
        {"images": [IMAGE], "annotations": [{**DOG, "bbox": [1, 2, 3]}]},
        {"images": [IMAGE], "annotations": [DOG]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "bbox": [1, 2, 0, 3]}]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "bbox": [1, 2, None, 3]}]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "area": "x"}]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "image_id": []}]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "area": 10**400}]},
        {"images": [{**IMAGE, "caption": "it"}], "annotations": [{**DOG, "area": float("nan")}]},
        {
            "images": [{**IMAGE, "caption": "it"}],
            "annotations": [{**DOG, "bbox": [1, 2, 3, 10**400]}],
        },
        {
            "images": [{**IMAGE, "caption": "it"}],
            "annotations": [{**DOG, "bbox": [1, 2, 3, float("inf")]}],
        },
        {"images": [None], "annotations": [DOG]},
        {"images": [IMAGE], "annotations": [DOG], "categories": [{"id": 3}]},
    ],
)
def test_files_that_are_none(tmp_path: Path, pictures: Path, data: Any) -> None:
    with pytest.raises(Damaged):
        questions(write(tmp_path, data), pictures)


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_file_holds(tmp_path: Path, pictures: Path, data: st.DataObject) -> None:
    """One field of it is something else: it is read, or refused, and nothing else is raised."""
    whole: dict[str, Any] = {
        "images": [{**IMAGE, "caption": "it"}, {**IMAGE, "id": 2}],
        "annotations": [dict(DOG), {**DOG, "image_id": 2}],
        "categories": [{"id": 3, "name": "dog"}],
    }
    table = whole[data.draw(st.sampled_from(sorted(whole)))]
    row = data.draw(st.sampled_from(table))
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(JUNK)
    with suppress(EdgeError):
        for one in questions(write(tmp_path, whole), pictures):
            assert one.picture == pictures / "a.jpg"
            assert len(one.boxes) == len(one.areas) > 0
            assert np.isfinite(one.boxes).all()


def test_no_file(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(EdgeError, match="there is no file"):
        questions(tmp_path / "none.json", pictures)
