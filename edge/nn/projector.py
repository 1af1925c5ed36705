"""The way from pictures into text of InternVL (arXiv 2404.16821) and of Groma (arXiv 2404.13013): four patches
become one row, as wide as the decoder's.

B pictures, S patches of a side, C channels of a patch, D the decoder's width.
"""

from dataclasses import dataclass
from typing import Literal

from edge.errors import Damaged
from edge.net import Port, Size
from edge.nn.composed import Composed
from edge.nn.networks import Network
from edge.nn.vit import MOST, TILES
from edge.nn.weights import matrix, norm
from edge.ops import Array
from edge.spec import Norm
from edge.typing import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectorSpec:
    """`side`: patches of a side, even. `norm`: of four patches, where they are normed. `order` of these: v2 row
    by row; v1, as first published, leaves the grid transposed; `columns` column by column. `class_row`: whether
    one more row comes first, which is left out.
    """

    side: int
    channels: int
    width: int
    norm: Norm | None = None
    order: Literal["v1", "v2", "columns"] = "v2"
    class_row: bool = True

    def __post_init__(self) -> None:
        counts = (self.side, self.channels, self.width)
        if self.side % 2 or not all(1 <= number <= MOST for number in counts):
            problem = (
                f"a projector of {self.side} patches a side, {self.channels} wide, to {self.width}"
            )
            raise Damaged(problem, fix="give an even side, and numbers from 1 to 2^20")

    @property
    def inputs(self) -> tuple[Port, ...]:
        rows = self.side * self.side + self.class_row
        return (Port(name="features", shape=("tiles", rows, self.channels)),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return (Port(name="rows", shape=("tiles", self.side * self.side // 4, self.width)),)

    @property
    def sizes(self) -> tuple[Size, ...]:
        return (Size(name="tiles", most=TILES),)

    def shapes(self) -> dict[str, Shape]:
        four = 4 * self.channels
        return {
            **({} if self.norm is None else norm("norm", four, self.norm)),
            **matrix("up", self.width, four),
            **matrix("down", self.width, self.width),
        }


def projector(ops: Composed[Array], spec: ProjectorSpec, features: Array) -> dict[str, Array]:
    """features [B, S S, C], or one row more, the class row first -> rows [B, S S / 4, D]."""
    half, four = spec.side // 2, 4 * spec.channels
    together = 1 if spec.order == "columns" else 2  # patches of a row that stay side by side
    x = ops.pad(features, 1, -1, 0) if spec.class_row else features
    x = ops.reshape(x, -1, 2, spec.side // together, together * spec.channels)
    x = ops.reshape(ops.transpose(x, 0, 2, 1, 3), -1, half * half, four)
    if spec.order == "v1":
        x = ops.transpose(ops.reshape(x, -1, half, half, four), 0, 2, 1, 3)
        x = ops.reshape(x, -1, half * half, four)
    x = x if spec.norm is None else ops.norm(x, "norm", spec.norm)
    return {"rows": ops.one(ops.act(ops.one(x, "up"), "gelu"), "down")}


NETWORK = Network(ProjectorSpec, projector)
