"""InternVL's way from pictures into text (arXiv 2404.16821): four patches become one row, as wide as the
decoder's.

B pictures, S patches of a side, C channels of a patch, D the decoder's width.
"""

from dataclasses import dataclass
from typing import Literal

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.vit import MOST, TILES
from edge.ops import Array
from edge.spec import Norm
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectorSpec:
    """`side`: patches of a side, even. `order`: v1, as first published, leaves the grid transposed."""

    side: int
    channels: int
    width: int
    norm: Norm
    order: Literal["v1", "v2"] = "v2"

    def __post_init__(self) -> None:
        counts = (self.side, self.channels, self.width)
        if self.side % 2 or not all(1 <= number <= MOST for number in counts):
            problem = (
                f"a projector of {self.side} patches a side, {self.channels} wide, to {self.width}"
            )
            raise Damaged(problem, fix="give an even side, and numbers from 1 to 2^20")

    @property
    def inputs(self) -> tuple[Port, ...]:
        shape = ("tiles", self.side * self.side + 1, self.channels)
        return (Port(name="features", shape=shape),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="rows", shape=("tiles", self.side * self.side // 4, self.width)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="tiles", most=TILES),)

    def shapes(self) -> dict[str, Shape]:
        four = 4 * self.channels
        return {
            "norm": (four,),
            "norm.bias": (four,),
            "up": (self.width, four),
            "up.bias": (self.width,),
            "down": (self.width, self.width),
            "down.bias": (self.width,),
        }


def projector(ops: Composed[Array], spec: ProjectorSpec, features: Array) -> dict[str, Array]:
    """features [B, S S + 1, C], the class row first -> rows [B, S S / 4, D]."""
    half, four = spec.side // 2, 4 * spec.channels
    x = ops.reshape(
        ops.pad(features, 1, -1, 0), -1, 2, half, 2 * spec.channels
    )  # [B S/2, 2, S/2, 2 C]
    x = ops.reshape(ops.transpose(x, 0, 2, 1, 3), -1, half * half, four)
    if spec.order == "v1":
        x = ops.transpose(ops.reshape(x, -1, half, half, four), 0, 2, 1, 3)
        x = ops.reshape(x, -1, half * half, four)
    x = ops.act(ops.one(ops.norm(x, "norm", spec.norm), "up"), "gelu")
    return {"rows": ops.one(x, "down")}


NETWORK = Network(ProjectorSpec, projector)
