"""A batch taken one by one, for targets whose graphs are of one row, and for kernels whose answer to a row
depends on the others.
"""

from collections.abc import Callable, Mapping

import numpy as np

from edge.net import NetConfig, batch_of, sizes_of
from edge.typing import F32, AnyArray

Call = Callable[[Mapping[str, AnyArray]], Mapping[str, F32]]


def one_by_one(config: NetConfig, call: Call, inputs: Mapping[str, AnyArray]) -> dict[str, F32]:
    """Outputs by name, of a call for each row of the batch; of one call where nothing is a batch."""
    count = sizes_of(config, {name: x.shape for name, x in inputs.items()}).get(
        batch_of(config) or "", 1
    )
    if count == 1:
        return dict(call(inputs))
    rows = [call({name: x[i : i + 1] for name, x in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
