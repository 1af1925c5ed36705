"""Groma's maps of regions: what its published code computes of a tower's last layers, in plain torch."""

from collections.abc import Mapping

import numpy as np
import slow_regions as slow

from towers import Fields, Reference, State, Tower


def made(fields: Fields) -> tuple[State, Reference]:
    numbers = fields["channels"], fields["levels"], fields["rounds"]
    state = slow.tensors(slow.maps_shapes(*numbers))

    def reference(*hidden: np.ndarray) -> Mapping[str, np.ndarray]:
        maps = slow.maps(state, list(hidden), fields["rounds"], fields["groups"])
        return {f"map_{i}": x.permute(0, 2, 3, 1).float().numpy() for i, x in enumerate(maps)}

    return {name: value.float().numpy() for name, value in state.items()}, reference


def layers(fields: Fields) -> Mapping[str, np.ndarray]:
    """Of two pictures."""
    rng = np.random.default_rng(1)
    shape = (2, fields["side"] ** 2, fields["channels"])
    each = (rng.standard_normal(shape).astype(np.float32) for _ in range(fields["levels"]))
    return {f"hidden_{i}": x for i, x in enumerate(each)}


TOWER = Tower(
    tiny={
        "model_type": "groma_region_maps",
        "side": 4,
        "channels": 64,
        "levels": 3,
        "rounds": 2,
        "groups": 16,
    },
    made=made,
    variants={"two levels": {"levels": 2, "side": 3}, "rounds of another number": {"rounds": 5}},
    given=layers,
    # Convolutions alone, which no fewer bits are for; in half precision each round makes more of what was rounded.
    recipes=("fp32",),
)
