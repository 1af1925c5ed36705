"""MIL operations on numpy, by type: one file a group.

Arithmetic takes floats as float32 and gives float32; the evaluator rounds the result to the type
that the program declares. What only moves elements keeps their type.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edge_runtimes.coreml.ops import (
    attention,
    elementwise,
    moving,
    norms,
    products,
    recurrent,
    reductions,
    weights,
    windows,
)

ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    **elementwise.OPS,
    **reductions.OPS,
    **products.OPS,
    **windows.OPS,
    **norms.OPS,
    **attention.OPS,
    **recurrent.OPS,
    **weights.OPS,
}
MOVING: Mapping[str, Callable[..., Any]] = moving.OPS


def moving_of(opset: int) -> Mapping[str, Callable[..., Any]]:
    """As this version of Core ML means them: 5 is iOS 15's, 8 iOS 18's."""
    return MOVING if opset >= 7 else {**MOVING, **moving.BEFORE_7}
