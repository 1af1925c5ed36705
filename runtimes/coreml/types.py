"""Types of a MIL program, by the names that MIL's text form gives them."""

import math
import re
from dataclasses import dataclass

import numpy as np

from edge.errors import Damaged

ELEMENTS = 1 << 31  # of one tensor: more is refused before it is made
NUMPY: dict[str, type[np.generic]] = {
    "fp16": np.float16,
    "fp32": np.float32,
    "bool": np.bool_,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "string": np.str_,
    "int4": np.int8,  # a code a byte, once unpacked
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """Kind of the elements, and sizes; None: known only when it runs."""

    kind: str
    shape: tuple[int | None, ...]

    def holds(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


def bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape, unless it is of a size that only a hostile program asks for."""
    if any(size < 0 for size in shape) or math.prod(shape) > ELEMENTS:
        raise Damaged(
            f"a program asks for a tensor of {list(shape)}", fix="do not trust this package"
        )
    return shape


def bits_of(kind: str) -> int:
    """Bits of an element as it is stored."""
    if kind == "bool":
        return 8
    match = re.search(r"\d+$", kind)
    assert match, f"{kind} has no size"
    return int(match[0])
