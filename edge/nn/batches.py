"""Calls whose rows know nothing of each other, taken a few at a time: for targets whose graphs are of one row, for
kernels whose answer to a row depends on the others, and where all at once would need too much memory.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edge.net import NetConfig, Size, batch_of, sizes_of
from edge.typing import F32, AnyArray

Call = Callable[[Mapping[str, AnyArray]], Mapping[str, F32]]


def one_by_one(config: NetConfig, call: Call, inputs: Mapping[str, AnyArray]) -> dict[str, F32]:
    """Outputs by name, of a call for each row of the batch; of one call where nothing is a batch."""
    batch = batch_of(config) or ""
    count = sizes_of(config, {name: x.shape for name, x in inputs.items()}).get(batch, 1)
    return dict(call(inputs)) if count == 1 else _in_turn(config, call, inputs, batch, [1] * count)


def in_slices(
    config: NetConfig, call: Call, inputs: Mapping[str, AnyArray], size: Size
) -> dict[str, F32]:
    """Outputs by name, however many rows there are along this size, also none: in as many calls as it takes that
    none is larger than the size allows. Every output has it; what no input has of it, each call gets whole.
    """
    found = {
        name: n
        for port in config.inputs
        for name, n in zip(port.shape, inputs[port.name].shape, strict=True)
        if isinstance(name, str)
    }
    if not found[size.name]:
        shapes = {
            p.name: [n if isinstance(n, int) else found[n] for n in p.shape] for p in config.outputs
        }
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return _in_turn(config, call, inputs, size.name, size.pieces(found[size.name]))


def _in_turn(
    config: NetConfig, call: Call, inputs: Mapping[str, AnyArray], size: str, counts: Iterable[int]
) -> dict[str, F32]:
    """A call for so many rows along a size, and one for the next."""
    ports = (*config.inputs, *config.outputs)
    axes = {port.name: port.shape.index(size) for port in ports if size in port.shape}
    made, at = list[Mapping[str, F32]](), 0
    for count in counts:
        part = slice(at, at + count)
        cut = {
            n: x[(slice(None),) * axes[n] + (part,)] if n in axes else x for n, x in inputs.items()
        }
        made.append(call(cut))
        at += count
    return {name: np.concatenate([m[name] for m in made], axis=axes[name]) for name in made[0]}
