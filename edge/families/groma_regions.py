"""The networks that see regions in a checkpoint of Groma (arXiv 2404.13013), and its bridge from patches to text: their
configs are made of the whole one's. What no config says is written in the published code, and stands here as absent.
"""

from typing import Any

from edge.families import Family
from edge.families._fields import SHARED, Fields, words
from edge.families._vision import biased, kernel
from edge.files.config import Config
from edge.names import NameMap
from edge.net import NetSpec
from edge.nn.projector import ProjectorSpec
from edge.nn.regions.region_encoder import RegionEncoderSpec
from edge.nn.regions.region_maps import RegionMapsSpec

# Of a grid of patches: how many a side has, and how wide each is.
_GRID = SHARED | Fields(read=words("side channels"))


def _maps(config: Config) -> NetSpec:
    return NetSpec(
        kind="region_maps",
        config=RegionMapsSpec(
            side=config.integer("side"),
            channels=config.integer("channels"),
            levels=config.integer("levels"),
            rounds=config.integer("rounds"),
            groups=config.integer("groups"),
        ),
    )


def _encoder(config: Config) -> NetSpec:
    return NetSpec(
        kind="region_encoder",
        config=RegionEncoderSpec(
            side=config.integer("side"),
            channels=config.integer("channels"),
            width=config.integer("hidden_size"),
            levels=config.integer("levels"),
            bins=config.integer("bins"),
            inner=config.integer("inner_size"),
            place=config.integer("place_size"),
        ),
    )


def _bridge(config: Config) -> NetSpec:
    return NetSpec(
        kind="projector",
        config=ProjectorSpec(
            side=config.integer("side"),
            channels=config.integer("channels"),
            width=config.integer("hidden_size"),
            order="columns",
            class_row=False,
        ),
    )


def _point(spec: Any) -> tuple[int, int, int]:
    return spec.channels, spec.channels + 2, 1


FAMILIES = (
    Family(
        name="groma_region_maps",
        model_types=("groma_region_maps",),
        fields=_GRID
        | Fields(
            read=words("levels rounds groups"), absent={"levels": 3, "rounds": 5, "groups": 64}
        ),
        network=_maps,
        names=NameMap(
            {
                "stem.{i}": kernel("input_conv.{i}.weight", columns=_point),
                "stem.{i}.bias": "input_conv.{i}.bias",
                "rounds.{i}": "fuse_convs.{i}.conv.weight",
                **biased({"rounds.{i}.norm": "fuse_convs.{i}.gn"}),
            }
        ),
    ),
    Family(
        name="groma_region_encoder",
        model_types=("groma_region_encoder",),
        fields=_GRID
        | Fields(
            read=words("hidden_size levels bins inner_size place_size"),
            absent={"levels": 3, "bins": 14, "inner_size": 1024, "place_size": 256},
        ),
        network=_encoder,
        names=NameMap(
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
        ),
    ),
    Family(
        name="groma_bridge",
        model_types=("groma_bridge",),
        fields=_GRID | Fields(read=words("hidden_size")),
        network=_bridge,
        names=NameMap(biased({"up": "0", "down": "2"})),
    ),
)
