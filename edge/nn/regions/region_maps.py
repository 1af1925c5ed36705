"""The maps that regions are cut out of (Groma, arXiv 2404.13013, after GPT4RoI, arXiv 2307.03601): a tower's last
hidden states as a pyramid, whose levels exchange channels.

B pictures, S patches of a side, C channels; of level i a map of S_i rows and columns, the first the finest.
"""

from dataclasses import dataclass
from itertools import starmap

import numpy as np

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.vit import MOST
from edge.nn.weights import LAYER, matrix, norm
from edge.ops import Array
from edge.typing import F32, Shape

LEVELS = 8  # at most
SIDE = 1 << 12  # of the finest map, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionMapsSpec:
    """`side`: patches of a picture's side, which the last level keeps; each level before has twice as many.
    `rounds`: how often levels exchange channels; `groups`: of the norm after each.
    """

    side: int
    channels: int
    levels: int = 3
    rounds: int = 5
    groups: int = 64

    def __post_init__(self) -> None:
        check_levels(self.side, self.channels, self.levels)
        if not 1 <= self.rounds <= 256 or self.groups < 1:
            problem = f"{self.rounds} rounds of regions' maps, in {self.groups} groups"
            raise Damaged(problem, fix="give 1 to 256 rounds, and groups; correct config.json")
        if self.channels % 4 or self.channels % self.groups:
            problem = f"{self.groups} groups, or 4 parts, do not divide {self.channels} channels"
            raise Damaged(problem, fix="correct config.json")

    @property
    def inputs(self) -> tuple[Port, ...]:
        shape = ("pictures", self.side * self.side, self.channels)
        return tuple(Port(name=f"hidden_{i}", shape=shape) for i in range(self.levels))

    @property
    def outputs(self) -> tuple[Port, ...]:
        return tuple(
            Port(name=f"map_{i}", shape=("pictures", side, side, self.channels))
            for i, side in enumerate(sides(self.side, self.levels))
        )

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="pictures", most=8),)

    def shapes(self) -> dict[str, Shape]:
        out, width = dict[str, Shape](), self.channels
        for i in range(self.levels):
            out |= matrix(f"stem.{i}", width, width + 2)
        for i in range(self.rounds):
            out[f"rounds.{i}"] = (width, width, 3, 3)
            out |= norm(f"rounds.{i}.norm", width)
        return out


def check_levels(side: int, channels: int, levels: int) -> None:
    """Refuses a pyramid that is none, or too large."""
    if not (1 <= levels <= LEVELS and 1 <= side <= SIDE >> levels - 1 and 1 <= channels <= MOST):
        raise Damaged(
            f"{levels} levels of maps, the smallest {side} by {side} and {channels} wide",
            fix=f"give 1 to {LEVELS} levels, of which the largest has a side of {SIDE} at most",
        )


def sides(side: int, levels: int) -> tuple[int, ...]:
    """Rows and columns of each level's map."""
    return tuple(side << levels - 1 - i for i in range(levels))


def region_maps(ops: Composed[Array], spec: RegionMapsSpec, **hidden: Array) -> dict[str, Array]:
    """hidden_i [B, S S, C] of a tower's last layers, without a class row, the very last for the smallest map
    -> map_i [B, S_i, S_i, C].
    """
    maps = [_begun(ops, spec, i, hidden[f"hidden_{i}"]) for i in range(spec.levels)]
    for i in range(spec.rounds):
        maps = _exchanged(ops, spec, maps, f"rounds.{i}")
    return {f"map_{i}": x for i, x in enumerate(maps)}


def _begun(ops: Composed[Array], spec: RegionMapsSpec, level: int, x: Array) -> Array:
    """One level, each pixel told where it is. The published code enlarges first, then multiplies; both are
    linear, and what enlarges adds up to one: this is the same in a fourth of the products a level.
    """
    side = spec.side
    places = ops.const(f"places.{side}", (side * side, 2), lambda: _places(side))
    x = ops.one(ops.concat(x, ops.spread(places, x)), f"stem.{level}")
    x = ops.reshape(x, -1, side, side, spec.channels)
    return _resized(ops, x, side, sides(side, spec.levels)[level], spec.channels)


def _places(side: int) -> F32:
    """x and y of each pixel, -1 to 1: [S S, 2]."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def _exchanged(
    ops: Composed[Array], spec: RegionMapsSpec, maps: list[Array], name: str
) -> list[Array]:
    """Each level keeps half of its channels, takes the last quarter of the next coarser level's and the third of
    the next finer one's, or of its own at an end; then one convolution serves them all.
    """
    half, quarter, last = spec.channels // 2, spec.channels // 4, spec.levels - 1
    kept, down, up = zip(*(ops.split(x, half, quarter, quarter) for x in maps), strict=True)
    size = sides(spec.side, spec.levels)

    def mixed(level: int, own: Array) -> Array:
        coarser, finer = min(level + 1, last), max(level - 1, 0)
        side = size[level]
        x = ops.concat(
            own,
            _resized(ops, up[coarser], size[coarser], side, quarter),
            _resized(ops, down[finer], size[finer], side, quarter),
        )
        x = ops.conv(x, name, pad=(1, 1), bias=False)
        x = ops.reshape(x, -1, side * side, spec.channels)
        x = ops.group_norm(
            x, f"{name}.norm", groups=spec.groups, channels=spec.channels, eps=LAYER.eps
        )
        return ops.reshape(ops.act(x, "relu"), -1, side, side, spec.channels)

    return list(starmap(mixed, enumerate(kept)))


def _resized(ops: Composed[Array], x: Array, start: int, stop: int, channels: int) -> Array:
    """A square map at another size, its corners where they were."""
    if start == stop:
        return x
    return ops.resize(x, (start, start, channels), (stop, stop), "bilinear-aligned")


NETWORK = Network(RegionMapsSpec, region_maps)
