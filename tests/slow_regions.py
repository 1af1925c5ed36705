"""Regions by code that shares nothing with edge's: ROIAlign pixel by pixel, and the networks of Groma's regions in
plain torch, under their published names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Corners: plain, inverted, partly outside, of no area, far outside; in pixels of a map 6 high and 4 wide.
BOXES = [[0.5, 1, 3, 4], [3, 4, 1, 0.5], [-3, -3, 2, 2], [2, 2, 2, 2], [3, 5, 9, 9], [-9, 0, -5, 3]]


def pixel(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """The rule of Mask R-CNN's authors: zero more than a pixel outside, else at the edge."""
    height, width, channels = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    high = image[top, left] * (1 - across) + image[top, right] * across
    low = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return high * (1 - down) + low * down


def aligned(image: np.ndarray, boxes: Any, bins: int, samples: int) -> np.ndarray:
    """image [H, W, C] and corners [N, 4] in its pixels -> [N, bins, bins, C], in float64."""
    want = np.zeros((len(boxes), bins, bins, image.shape[-1]))
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        wide, high = (x2 - x1) / bins, (y2 - y1) / bins
        for i, j, a, b in np.ndindex(bins, bins, samples, samples):
            y = y1 - 0.5 + (i + (a + 0.5) / samples) * high
            x = x1 - 0.5 + (j + (b + 0.5) / samples) * wide
            want[n, i, j] += pixel(image, y, x) / samples**2
    return want


def tensors(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    """Random numbers under these names, none of them one or zero."""
    import torch

    made = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=made).double() / np.prod(shape[1:]) ** 0.5
        if len(shape) > 1 else 0.5 + 0.3 * torch.randn(shape, generator=made).double()
        for name, shape in shapes.items()
    }  # fmt: skip


def maps_shapes(width: int, levels: int, rounds: int) -> dict[str, tuple[int, ...]]:
    """Of `region_encoder.mlvl_fuse`."""
    out: dict[str, tuple[int, ...]] = {}
    for i in range(levels):
        out[f"input_conv.{i}.weight"] = (width, width + 2, 1, 1)
        out[f"input_conv.{i}.bias"] = (width,)
    for i in range(rounds):
        out[f"fuse_convs.{i}.conv.weight"] = (width, width, 3, 3)
        out |= {f"fuse_convs.{i}.gn.{part}": (width,) for part in ("weight", "bias")}
    return out


def maps(state: Mapping[str, Any], hidden: list[np.ndarray], rounds: int, groups: int) -> list[Any]:
    """[B, S S, C] of the last layers -> a map [B, C, s, s] of each, the finest first: enlarged, told where each
    pixel is, and then so many rounds in which neighbours exchange quarters.
    """
    import torch
    import torch.nn.functional as F

    side, levels = round(hidden[0].shape[1] ** 0.5), len(hidden)
    found = []
    for i, rows in enumerate(hidden):
        image = torch.tensor(rows).double().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        size = side * 2 ** (levels - 1 - i)
        image = F.interpolate(image, (size, size), mode="bilinear", align_corners=True)
        line = torch.linspace(-1, 1, size).double()
        place = torch.stack([line.expand(size, size), line[:, None].expand(size, size)])
        image = torch.cat([image, place.expand(len(image), -1, -1, -1)], 1)
        found.append(
            F.conv2d(image, state[f"input_conv.{i}.weight"], state[f"input_conv.{i}.bias"])
        )
    width = found[0].shape[1]
    for i in range(rounds):
        new = []
        for level, image in enumerate(found):
            coarse, fine = found[min(level + 1, levels - 1)], found[max(level - 1, 0)]
            given = [coarse[:, width // 4 * 3 :], fine[:, width // 2 : width // 4 * 3]]
            given = [
                F.interpolate(part, image.shape[2:], mode="bilinear", align_corners=True)
                for part in given
            ]
            x = torch.cat([image[:, : width // 2], *given], 1)
            x = F.conv2d(x, state[f"fuse_convs.{i}.conv.weight"], padding=1)
            norm = [state[f"fuse_convs.{i}.gn.{part}"] for part in ("weight", "bias")]
            new.append(F.relu(F.group_norm(x, groups, *norm, eps=1e-5)))
        found = new
    return found


def encoder_shapes(
    channels: int, width: int, levels: int, bins: int, inner: int, place: int
) -> dict[str, tuple[int, ...]]:
    """Of `region_encoder.roi_align`."""
    weights: dict[str, tuple[int, ...]] = {
        f"pconvs.{i}": (channels, channels, 3, 3) for i in range(levels)
    }
    weights |= {"flatten_linear": (inner, channels * bins * bins), "pos_embedd.0": (place, 4)}
    weights |= {"pos_embedd.2": (place,), "pos_embedd.3": (inner, place), "pos_embedd.5": (inner,)}
    weights |= {"updims": (width, inner)}
    return {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in weights.items()
        for part in ("weight", "bias")
    }


def encoded(
    state: Mapping[str, Any], maps: list[np.ndarray], boxes: np.ndarray, *, bins: int, pixels: int
) -> Any:
    """Maps [S, S, C], the finest first, and boxes [N, 4], middle and size as shares -> [N, D]. As published: a box
    in `pixels` of the picture goes as it is to what wants corners, and pixels of the maps are counted as a quarter,
    a half and once seven of them for a picture of 448 whose smallest map has a pixel for every fourteen.
    """
    import torch
    import torch.nn.functional as F

    patch = pixels / len(maps[-1])
    summed: Any = 0
    for i, image in enumerate(maps):
        stride = patch / 2 / 2 ** (len(maps) - 1 - i)  # 1.75, 3.5, 7
        seen = aligned(
            image.astype(np.float64), boxes.astype(np.float64) * pixels / stride, bins, 2
        )
        x = torch.tensor(seen).permute(0, 3, 1, 2)
        summed = summed + F.conv2d(
            x, state[f"pconvs.{i}.weight"], state[f"pconvs.{i}.bias"], padding=1
        )
    x = linear(state, "flatten_linear", F.relu(summed).flatten(1))
    place = torch.tensor(boxes).double()
    for into, norm in ((0, 2), (3, 5)):
        place = F.relu(linear(state, f"pos_embedd.{into}", place))
        parts = [state[f"pos_embedd.{norm}.{part}"] for part in ("weight", "bias")]
        place = F.layer_norm(place, place.shape[-1:], *parts)
    return linear(state, "updims", x + place)


def linear(state: Mapping[str, Any], name: str, x: Any) -> Any:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
