"""A checkpoint's weights, each number of which is one: NaN and infinity are refused by tensor and row.

One of them in a weight makes every logit one. N rows, K columns.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edge.errors import Damaged
from edge.names import Location
from edge.quant.unfit import first_wrong
from edge.source.checkpoint import Checkpoint
from edge.typing import F32, AnyArray


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
    return joined((block for _, block in blocks(checkpoint, name)), checkpoint.shape(name))


def joined(parts: Iterable[F32], shape: Sequence[int]) -> F32:
    """Rows in one array, without a second copy of all of them."""
    out, row = np.empty(shape, np.float32), 0
    for part in parts:
        out[row : row + len(part)] = part
        row += len(part)
    assert row == len(out), f"{row} of {len(out)} rows"
    return out


def _broken(place: Location, row: int, values: AnyArray) -> Damaged:
    what = "NaN" if np.isnan(values).any() else "infinity, or more than a float32,"
    return Damaged(
        f"tensor {place.tensor} holds {what} in row {place.row(row)}: no answer can come from it",
        fix="get the checkpoint again; if its source has the same, it is broken there",
    )
