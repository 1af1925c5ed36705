"""A picture made ready for a model is what Pillow and numpy make of it, written out plainly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs '.[vision]'")
from PIL import Image

from edge.errors import Damaged, EdgeError, Unsupported
from edge.vision import preparation as made
from edge.vision.pictures import Picture, open_picture
from edge.vision.preparation import Preparation, prepare, read_preparation, resized_size

CONFIG: dict[str, Any] = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def some(height: int, width: int) -> Picture:
    rng = np.random.default_rng(height * width)
    return Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(300, 401), (401, 300), (100, 77), (512, 512), (233, 600)])
def test_catlip_and_dinov2_by_pillow_alone(size: tuple[int, int]) -> None:
    height, width = size
    picture = some(*size)
    for it, side in ((made.CATLIP_224, 232), (made.DINOV2, 256)):
        bicubic = it.filter == "bicubic"
        high = side if height <= width else int(side * height / width)
        wide = side if width <= height else int(side * width / height)
        filter_ = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
        small = Image.fromarray(picture.rgb).resize((wide, high), filter_)
        rounded = int if bicubic else round
        left, top = rounded((wide - 224) / 2.0), rounded((high - 224) / 2.0)
        cut = np.asarray(small.crop((left, top, left + 224, top + 224))) / 255
        want = (cut - it.mean) / it.std
        got = prepare(picture, it)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("halves", ["even", "down"])
def test_where_a_crop_begins(halves: Any) -> None:
    """7 - 4 = 3: torchvision begins at round(1.5) = 2, transformers at 1."""
    picture = some(7, 7)
    begin = 2 if halves == "even" else 1
    got = prepare(picture, Preparation(crop=(4, 4), scale=1.0, halves=halves))
    np.testing.assert_array_equal(got, picture.rgb[begin : begin + 4, begin : begin + 4])


def test_real_photos_at_an_exact_size(assets: Path) -> None:
    files = sorted((assets / "images").rglob("*.jpg"))[:6]
    if not files:
        pytest.skip("no photos in the shared data")
    for file in files:
        small = Image.open(file).convert("RGB").resize((448, 448), Image.Resampling.BICUBIC)
        want = (np.asarray(small) / 255 - made.INTERNVIT.mean) / made.INTERNVIT.std
        got = prepare(open_picture(file), made.INTERNVIT)
        np.testing.assert_allclose(got, want, atol=1e-6, rtol=1e-6)


def test_the_longer_side_is_rounded_down() -> None:
    assert resized_size((401, 300), 232) == (310, 232)  # 310.1
    assert resized_size((300, 389), 224) == (224, 290)  # 290.45
    assert resized_size((3, 5), (8, 9)) == (8, 9)


def test_a_config_is_read() -> None:
    assert read_preparation(CONFIG) == made.DINOV2
    vit = {"size": {"height": 224, "width": 224}, "resample": 2, "image_mean": [0.5] * 3}
    assert read_preparation({**vit, "image_std": [0.5] * 3}).resize == (224, 224)
    assert read_preparation({}) == Preparation(halves="down")


def test_a_mean_may_be_zero() -> None:
    found = read_preparation({"image_mean": [0.0] * 3, "image_std": [1, 1, 1]})
    assert found.mean == (0.0, 0.0, 0.0)
    with pytest.raises(Damaged, match="image_std"):
        read_preparation({"image_mean": [0.0] * 3, "image_std": [0.0] * 3})


def test_one_number_is_what_its_processor_takes_it_for() -> None:
    one = {"size": 224, "resample": 3}
    clip = {**one, "feature_extractor_type": "CLIPFeatureExtractor"}
    assert read_preparation(clip).resize == 224
    vit = {**one, "feature_extractor_type": "ViTFeatureExtractor"}
    assert read_preparation(vit).resize == (224, 224)
    with pytest.raises(Damaged, match="size is 224, not an object"):
        read_preparation(one)


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"do_pad": True}, Unsupported, "do_pad"),
        ({"resample": 1}, Unsupported, "resample"),
        ({"size": {"longest_edge": 5}}, Unsupported, "longest_edge"),
        ({"size": {"shortest_edge": -5}}, Damaged, "shortest_edge"),
        ({"image_mean": [0.5]}, Damaged, "not 3"),
        ({"crop_size": {"height": 5}}, Unsupported, "crop_size has height"),
    ],
)
def test_what_is_not_computed_is_refused(
    change: dict[str, Any], error: type[EdgeError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        read_preparation({**CONFIG, **change})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(EdgeError, match="does not fit"):
        prepare(some(5, 5), Preparation(crop=(6, 5)))
    with pytest.raises(EdgeError, match="would become"):
        prepare(some(2, 400), Preparation(resize=1000))
