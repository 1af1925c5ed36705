"""Numbers that nothing computes with: found before they are stored, named by tensor and row.

One NaN or infinity in a weight makes every logit one. A file may hold it, or a type of fewer bits make
it of a number that is too large for it. N rows, K columns.
"""

from collections.abc import Iterator

import numpy as np

from edge.checkpoint import Checkpoint
from edge.errors import Damaged, Unsupported
from edge.names import Place
from edge.typing import F32, AnyArray


class Unfit(Unsupported):
    """A row of a weight holds a number that a type does not; both as canonical names count them."""

    def __init__(self, name: str, row: int, kind: object) -> None:
        self.row, self.kind = row, kind
        super().__init__(
            f"{name} holds in row {row} a number too large for {kind}",
            fix="give it a type that ends later, such as fp32, or bf16 where the target has it: "
            "--quant, or --override for this weight alone",
        )

    def at(self, place: Place) -> "Unfit":
        """As the checkpoint names it."""
        return Unfit(place.tensor, row_of(place, self.row), self.kind)


def blocks(checkpoint: Checkpoint, name: str) -> Iterator[tuple[int, F32]]:
    """Every block of a weight with its first row; refuses one that holds NaN or infinity."""
    row = 0
    for block in checkpoint.blocks(name):
        wrong = first_wrong(block)
        if wrong is not None:
            raise _broken(checkpoint.places[name], row + wrong, block[wrong])
        yield row, block
        row += len(block)


def whole(checkpoint: Checkpoint, name: str) -> F32:
    """A weight; refuses one that holds NaN or infinity."""
    return np.concatenate([block for _, block in blocks(checkpoint, name)])


def first_wrong(values: AnyArray) -> int | None:
    """The first row of [N, ...] that holds NaN or infinity."""
    finite = np.isfinite(values)
    if finite.all():
        return None
    return int(np.argmin(finite.reshape(len(values), -1).all(axis=1)))


def row_of(place: Place, row: int) -> int:
    """A weight's row as a row of the tensor that it lies in."""
    for rows in place.rows:
        if row < len(rows):
            return rows[row]
        row -= len(rows)
    return row


def _broken(place: Place, row: int, values: AnyArray) -> Damaged:
    what = "NaN" if np.isnan(values).any() else "infinity, or more than a float32,"
    return Damaged(
        f"tensor {place.tensor} holds {what} in row {row_of(place, row)}: no answer can come from it",
        fix="get the checkpoint again; if its source has the same, it is broken there",
    )
