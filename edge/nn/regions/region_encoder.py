"""A row for each region of a picture (Groma, arXiv 2404.13013): a grid of averages out of each map, a convolution
of each, one long product, and what the box itself says.

N regions, K bins of a side, C channels, I inner width, D the decoder's; of level i a map of S_i rows and columns.
"""

from dataclasses import dataclass
from functools import reduce

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.regions.region_maps import check_levels, sides
from edge.nn.vit import MOST
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.typing import Shape

# Of one call: K S_0 C numbers a region are on their way, which are 7 MB of a picture of 32 patches a side.
REGIONS = Size(name="regions", most=16, steps=(1, 2, 4, 8, 16))


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionEncoderSpec:
    """`side`, `channels`, `levels`: of the maps, as `edge.nn.regions.region_maps` makes them. `bins`: of a
    region's side, and `samples` of a bin's; `inner`: width of a region before the decoder's `width`; `place`:
    of what its box says, first. `stretch`: how far out places are read, in sizes of a map: 1 would be where
    they are.
    """

    side: int
    channels: int
    width: int
    levels: int = 3
    bins: int = 14
    samples: int = 2
    inner: int = 1024
    place: int = 256
    stretch: float = 2.0

    def __post_init__(self) -> None:
        check_levels(self.side, self.channels, self.levels)
        counts = (self.width, self.inner, self.place)
        few = (self.bins, self.samples)
        if not all(1 <= n <= MOST for n in counts) or not all(1 <= n <= 256 for n in few):
            problem = (
                "a number of a region encoder is not from 1 to 2^20, or bins and samples not to 256"
            )
            raise Damaged(problem, fix="correct the numbers in config.json")
        if not 0 < self.stretch <= 16:
            problem = f"places of regions at {self.stretch} times where they are"
            raise Damaged(problem, fix="give a number above 0, at most 16; Groma's is 2")

    @property
    def inputs(self) -> tuple[Port, ...]:
        maps = (
            Port(name=f"map_{i}", shape=(1, side, side, self.channels))
            for i, side in enumerate(sides(self.side, self.levels))
        )
        return (*maps, Port(name="boxes", shape=(1, "regions", 4)))

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="rows", shape=(1, "regions", self.width)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (REGIONS,)

    def shapes(self) -> dict[str, Shape]:
        out = dict[str, Shape]()
        for i in range(self.levels):
            out[f"levels.{i}"] = (self.channels, self.channels, 3, 3)
            out[f"levels.{i}.bias"] = (self.channels,)
        out |= matrix("flat", self.inner, self.channels * self.bins**2)
        for name, width, into in (("in", self.place, 4), ("out", self.inner, self.place)):
            out |= matrix(f"place.{name}", width, into) | norm(f"place.{name}.norm", width)
        return out | matrix("up", self.width, self.inner)


def region_encoder(
    ops: Composed[Array], spec: RegionEncoderSpec, boxes: Array, **maps: Array
) -> dict[str, Array]:
    """map_i [1, S_i, S_i, C] and boxes [1, N, 4], middle and size as shares of the picture, x y w h -> rows
    [1, N, D].

    Two mistakes of the published code were learned with the weights, and are part of the model (Groma#11,
    Groma#21: mended and trained again it was worse). A box is cut out as if its middle and size were its
    corners, so that it may be inverted. And it is cut out at `stretch` times its place, beyond the map's edge
    for most of the picture, where zeros are.
    """
    boxes = ops.reshape(boxes, -1, 4)  # [N, 4]
    seen = []
    for i, side in enumerate(sides(spec.side, spec.levels)):
        x = ops.roi_align(
            maps[f"map_{i}"], ops.mul(boxes, spec.stretch * side),
            size=(side, side, spec.channels), bins=spec.bins, samples=spec.samples,
        )  # fmt: skip
        seen.append(ops.conv(x, f"levels.{i}", pad=(1, 1)))  # [N, K, K, C]
    x = ops.act(reduce(ops.add, seen), "relu")
    # The long product's columns are channel by channel: turning what comes in is cheaper than its weight.
    x = ops.transpose(ops.reshape(x, -1, spec.bins**2, spec.channels), 0, 2, 1)
    x = ops.one(ops.reshape(x, -1, spec.channels * spec.bins**2), "flat")  # [N, I]
    x = ops.one(ops.add(x, _placed(ops, boxes)), "up")
    return {"rows": ops.reshape(x, 1, -1, spec.width)}


def _placed(ops: Composed[Array], boxes: Array) -> Array:
    """What boxes themselves say: [N, 4] -> [N, I]."""
    for name in ("place.in", "place.out"):
        boxes = ops.norm(ops.act(ops.one(boxes, name), "relu"), f"{name}.norm", LAYER)
    return boxes


NETWORK = Network(RegionEncoderSpec, region_encoder)
