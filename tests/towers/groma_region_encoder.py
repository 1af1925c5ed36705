"""Groma's encoder of regions: what its published code computes of maps and boxes, in plain torch."""

from collections.abc import Mapping

import numpy as np
import slow_regions as slow

from towers import Fields, Reference, State, Tower

# Middles and sizes as shares of a picture: plain, read as corners inverted, of no area, outside, and the whole.
BOXES = [
    [0.2, 0.1, 0.3, 0.45],
    [0.4, 0.35, 0.1, 0.05],
    [0.3, 0.3, 0.3, 0.3],
    [0.7, 0.8, 0.2, 0.3],
    [0.5, 0.5, 1, 1],
]


def made(fields: Fields) -> tuple[State, Reference]:
    names = ("channels", "hidden_size", "levels", "bins", "inner_size", "place_size")
    state = slow.tensors(slow.encoder_shapes(*(fields[name] for name in names)))

    def reference(boxes: np.ndarray, *maps: np.ndarray) -> np.ndarray:
        each, pixels = [x[0] for x in maps], 14 * fields["side"]
        found = slow.encoded(state, each, boxes[0], bins=fields["bins"], pixels=pixels)
        return np.asarray(found[None].float())

    return {name: value.float().numpy() for name, value in state.items()}, reference


def seen(fields: Fields) -> Mapping[str, np.ndarray]:
    """Boxes, and maps of one picture."""
    rng, levels = np.random.default_rng(1), fields["levels"]
    sides = [fields["side"] << levels - 1 - i for i in range(levels)]
    maps = (rng.standard_normal((1, side, side, fields["channels"])) for side in sides)
    return {
        "boxes": np.float32([BOXES]),
        **{f"map_{i}": x.astype(np.float32) for i, x in enumerate(maps)},
    }


TOWER = Tower(
    tiny={
        "model_type": "groma_region_encoder",
        "side": 4,
        "channels": 64,
        "hidden_size": 64,
        "levels": 3,
        "bins": 4,
        "inner_size": 64,
        "place_size": 64,
    },
    made=made,
    variants={"as many bins as published": {"bins": 14}, "one level": {"levels": 1, "side": 6}},
    given=seen,
)
