"""What the networks of regions are called in Groma's checkpoints (arXiv 2404.13013), behind the beginnings below."""

from typing import Any

from edge.families._vision import biased, kernel
from edge.names import NameMap

MAPS_AT, ENCODER_AT, BRIDGE_AT = (
    "region_encoder.mlvl_fuse.",
    "region_encoder.roi_align.",
    "img_txt_bridge.",
)


def _sides(spec: Any) -> tuple[int, int, int]:
    return spec.channels, spec.channels + 2, 1


MAPS = NameMap(
    {
        "levels.{i}": kernel("input_conv.{i}.weight", columns=_sides),
        "levels.{i}.bias": "input_conv.{i}.bias",
        "rounds.{i}": "fuse_convs.{i}.conv.weight",
        **biased({"rounds.{i}.norm": "fuse_convs.{i}.gn"}),
    }
)
ENCODER = NameMap(
    biased(
        {
            "levels.{i}": "pconvs.{i}",
            "flat": "flatten_linear",
            "place.in": "pos_embedd.0",
            "place.in.norm": "pos_embedd.2",
            "place.out": "pos_embedd.3",
            "place.out.norm": "pos_embedd.5",
            "up": "updims",
        }
    )
)
BRIDGE = NameMap(biased({"up": "0", "down": "2"}))
