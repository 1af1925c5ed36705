"""Pictures are made ready as transformers' own processors make them, from the config that they write."""

from typing import Any

import numpy as np
import pytest

from edge.vision.pictures import Picture
from edge.vision.preparation import DINOV2, VIT, prepare, read_preparation

Image = pytest.importorskip("PIL.Image", reason="needs '.[vision]'")
transformers = pytest.importorskip("transformers")
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {},
    "CLIP": {},
    "Bit": {"size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406]},
    "Bit, a crop alone": {"do_resize": False, "crop_size": {"height": 60, "width": 41}},
    "ViT, not normalised": {"do_normalize": False},
    "ViT, bytes": {"do_rescale": False, "size": {"height": 30, "width": 50}},
}
SIZES = ((301, 403), (403, 301), (64, 64), (97, 260), (700, 95))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_says_the_same(name: str, size: tuple[int, int]) -> None:
    kind = getattr(transformers, f"{name.partition(',')[0]}ImageProcessorPil")
    processor = kind(**PROCESSORS[name])
    config = {k: v for k, v in processor.to_dict().items() if v is not None}
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
    if "resample" in config:
        config["resample"] = int(config["resample"])
    rgb = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    (want,) = processor(Image.fromarray(rgb), return_tensors="np")["pixel_values"]
    got = prepare(Picture(rgb=rgb), read_preparation(config))
    np.testing.assert_allclose(got, want.transpose(1, 2, 0), atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize(
    ("kind", "fields", "ours"),
    [
        ("ViT", {}, VIT),
        (
            "Bit",
            {
                "size": {"shortest_edge": 256},
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            },
            DINOV2,
        ),
    ],
)
def test_ours_are_theirs(kind: str, fields: dict[str, Any], ours: Any) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**fields)
    rgb = np.random.default_rng(3).integers(0, 256, (301, 404, 3), dtype=np.uint8)
    (want,) = processor(Image.fromarray(rgb), return_tensors="np")["pixel_values"]
    got = prepare(Picture(rgb=rgb), ours)
    np.testing.assert_allclose(got, want.transpose(1, 2, 0), atol=1e-5)
