"""Numbers that a type of fewer bits does not hold: found before they are stored. N rows."""

import numpy as np

from edge.errors import Unsupported
from edge.names import Location
from edge.typing import AnyArray


class Unfit(Unsupported):
    """A row of a weight holds a number that a type does not; both as canonical names count them."""

    def __init__(self, name: str, row: int, kind: object) -> None:
        self.row, self.kind = row, kind
        super().__init__(
            f"{name} holds in row {row} a number too large for {kind}",
            fix="give it a type that ends later, such as fp32, or bf16 where the target has it: "
            "--quant, or --override for this weight alone",
        )

    def at(self, place: Location) -> "Unfit":
        """As the checkpoint names it."""
        return Unfit(place.tensor, place.row(self.row), self.kind)


def first_wrong(values: AnyArray) -> int | None:
    """The first row of [N, ...] that holds NaN or infinity."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    return int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))
