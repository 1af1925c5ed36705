"""Array types, named by what they hold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
I8 = NDArray[np.int8]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
AnyArray = NDArray[Any]
Fed = Sequence[int] | F32  # tokens [T], or rows [T, D] in their place
Shape = tuple[int, ...]
Say = Callable[[str], None]  # a line for the user, beside the result
