"""From a picture to a vision model's input: resize, crop, scale, normalise, as data.

Filters are Pillow's, always with antialiasing; sizes are rounded as torchvision's transforms do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.config import Config
from edge.typing import F32, U8
from edge.vision.pictures import PIXELS, Picture

_SIDE = 1 << 15  # pixels
Filter = Literal["bilinear", "bicubic"]
Size = tuple[int, int]  # height, width
Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """resize: the shortest side, or exactly height and width; crop: height and width, from the middle.

    halves: where a crop begins whose middle lies on half a pixel: torchvision goes to the even side,
    transformers down. Of a byte x comes (x * scale - mean) / std.
    """

    resize: int | Size | None = None
    filter: Filter = "bilinear"
    crop: Size | None = None
    halves: Literal["even", "down"] = "even"
    scale: float = 1 / 255
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# arXiv 2404.15653, by CoreNet's recipes
CATLIP_224 = Preparation(resize=232, crop=(224, 224))
CATLIP_512 = Preparation(resize=512, crop=(512, 512))
# arXiv 2312.14238
INTERNVIT = Preparation(resize=(448, 448), filter="bicubic", mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
# arXiv 2010.11929
VIT = Preparation(resize=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# arXiv 2304.07193
DINOV2 = Preparation(
    resize=256,
    filter="bicubic",
    crop=(224, 224),
    halves="down",
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
)


def size_of(preparation: Preparation) -> Size | None:
    """Height and width of what comes out, where that is the same for every picture."""
    if preparation.crop is not None:
        return preparation.crop
    return None if isinstance(preparation.resize, int) else preparation.resize


def at_size(preparation: Preparation, size: Size) -> Preparation:
    """The same for pictures of another size: what is cut away keeps its share."""
    crop, resize = preparation.crop, preparation.resize
    if crop is None or resize is None:
        return replace(preparation, resize=size, crop=None)
    scales = [new / old for new, old in zip(size, crop, strict=True)]
    if isinstance(resize, int):
        return replace(preparation, resize=round(resize * max(scales)), crop=size)
    height, width = (round(old * scale) for old, scale in zip(resize, scales, strict=True))
    return replace(preparation, resize=(height, width), crop=size)


def prepare(picture: Picture, preparation: Preparation) -> F32:
    """-> [H, W, 3]. EdgeError if the crop is larger than what it is cut from, or the size too large."""
    rgb = picture.rgb
    if preparation.resize is not None:
        rgb = resized(rgb, resized_size(rgb.shape[:2], preparation.resize), preparation.filter)
    if preparation.crop is not None:
        rgb = _cropped(rgb, preparation.crop, preparation.halves)
    mean = np.array(preparation.mean, np.float32)
    std = np.array(preparation.std, np.float32)
    out: F32 = (rgb.astype(np.float32) * np.float32(preparation.scale) - mean) / std
    return out


def resized_size(size: Size, resize: int | Size) -> Size:
    """Height and width -> height and width; the longer side is rounded down, as torchvision does."""
    if not isinstance(resize, int):
        return resize
    height, width = size
    if height <= width:
        return resize, int(resize * width / height)
    return int(resize * height / width), resize


def resized(rgb: U8, size: Size, how: Filter) -> U8:
    """A picture [H, W, 3] at another height and width, by Pillow, whose filters smooth what becomes smaller."""
    from PIL import Image  # whoever opened the picture has it

    height, width = size
    if height * width > PIXELS:
        raise EdgeError(
            f"a picture of {rgb.shape[1]} x {rgb.shape[0]} would become {width} x {height}",
            fix="crop it first",
        )
    if rgb.shape[:2] == size:
        return rgb
    kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[how]
    return np.asarray(Image.fromarray(rgb).resize((width, height), kind))


def _cropped(rgb: U8, crop: Size, halves: Literal["even", "down"]) -> U8:
    (height, width), (high, wide) = rgb.shape[:2], crop
    if high > height or wide > width:
        raise EdgeError(
            f"a crop of {wide} x {high} does not fit in {width} x {height}",
            fix="take a larger picture, or a preparation that resizes",
        )
    rounded = round if halves == "even" else int
    top, left = rounded((height - high) / 2), rounded((width - wide) / 2)
    return rgb[top : top + high, left : left + wide]


_FIELDS = {"do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale"}
_FIELDS |= {"rescale_factor", "do_normalize", "image_mean", "image_std", "do_convert_rgb"}
_TYPES = ("image_processor_type", "feature_extractor_type")
_INERT = {*_TYPES, "processor_class", "_processor_class"}
# What a size that is one number means, to processors of transformers.
_SHORTEST = {"CLIPFeatureExtractor", "CLIPImageProcessor"}
_SQUARE = {"ViTFeatureExtractor", "ViTImageProcessor", "DeiTFeatureExtractor"}
_FILTERS: Mapping[int, Filter] = {2: "bilinear", 3: "bicubic"}


def read_preparation(config: Mapping[str, Any]) -> Preparation:
    """What a preprocessor_config.json of Hugging Face says. Unsupported for a field that is not
    computed, Damaged for one of a wrong type.
    """
    fields = Config(config, "preprocessor_config.json")
    for name in sorted(set(config) - _FIELDS - _INERT):
        fields.only(name)
    fields.only("do_convert_rgb", True)
    resizes = fields.flag("do_resize", fields.has("size"))
    crops = fields.flag("do_center_crop", fields.has("crop_size"))
    if resizes:
        fields.only("resample", *_FILTERS)
    normalises = fields.flag("do_normalize", fields.has("image_mean"))
    rescales = fields.flag("do_rescale", True)
    return Preparation(
        resize=_size(fields) if resizes else None,
        filter=_FILTERS[fields.integer("resample")] if resizes else "bilinear",
        crop=_crop(fields) if crops else None,
        halves="down",
        scale=fields.number("rescale_factor", 1 / 255) if rescales else 1.0,
        mean=_colour(fields, "image_mean", zero=True) if normalises else (0.0, 0.0, 0.0),
        std=_colour(fields, "image_std") if normalises else (1.0, 1.0, 1.0),
    )


def stored(table: Config) -> Preparation:
    """What `dataclasses.asdict` wrote of one."""
    resize = table.data.get("resize")
    halves, how = table.text("halves"), table.text("filter")
    if halves not in ("even", "down") or how not in ("bilinear", "bicubic"):
        raise Damaged(f"{table.where} is no preparation", fix="convert again with this edge")
    return Preparation(
        resize=_pair(table, "resize") if isinstance(resize, list) else
        table.integer("resize", high=_SIDE) if resize is not None else None,
        filter="bicubic" if how == "bicubic" else "bilinear",
        crop=_pair(table, "crop") if table.has("crop") else None,
        halves="down" if halves == "down" else "even",
        scale=table.number("scale"),
        mean=_colour(table, "mean", zero=True),
        std=_colour(table, "std"),
    )  # fmt: skip


def _pair(table: Config, key: str) -> Size:
    sides = table.integers(key)
    if len(sides) != 2 or max(sides) > _SIDE:
        raise Damaged(f"{table.where}: {key} is no height and width", fix="correct the field")
    return sides[0], sides[1]


def _size(fields: Config) -> int | Size:
    if isinstance(fields.data.get("size"), int):
        side = fields.integer("size")
        types = {fields.text(name) for name in _TYPES if fields.has(name)}
        if types & _SHORTEST:
            return side
        if types & _SQUARE:
            return side, side
    table = fields.table("size") or Config({}, f"{fields.where}: size")
    if set(table.data) == {"shortest_edge"}:
        return table.integer("shortest_edge")
    return _exactly(table)


def _crop(fields: Config) -> Size:
    if isinstance(fields.data.get("crop_size"), int):
        return fields.integer("crop_size"), fields.integer("crop_size")
    return _exactly(fields.table("crop_size") or Config({}, f"{fields.where}: crop_size"))


def _exactly(table: Config) -> Size:
    if set(table.data) != {"height", "width"}:
        raise Unsupported(
            f"{table.where} has {', '.join(sorted(table.data)) or 'nothing'}, not height and width",
            fix="write height and width, or shortest_edge alone as a size",
        )
    return table.integer("height"), table.integer("width")


def _colour(fields: Config, key: str, *, zero: bool = False) -> Colour:
    values = fields.numbers(key, zero=zero)
    if len(values) != 3:
        raise Damaged(
            f"{fields.where}: {key} has {len(values)} numbers, not 3", fix="correct the field"
        )
    return values[0], values[1], values[2]
