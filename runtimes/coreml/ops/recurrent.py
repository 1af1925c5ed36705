"""What remembers rows before it."""

from collections.abc import Callable, Mapping

import numpy as np

from edge.errors import Unsupported
from edge.typing import F32, AnyArray

_PLAIN = {
    "direction": "forward",
    "recurrent_activation": "sigmoid",
    "cell_activation": "tanh",
    "activation": "tanh",
}


def lstm(
    x: F32,
    initial_h: F32,
    initial_c: F32,
    weight_ih: F32,
    weight_hh: F32,
    bias: F32 | None = None,
    output_sequence: AnyArray | bool = False,
    **more: object,
) -> tuple[F32, F32, F32]:
    """x [T, B, C] from nothing, forward and with its usual functions -> [T, B, D], the last row and cell."""
    other = {key: str(value) for key, value in more.items() if str(value) != _PLAIN.get(key)}
    if other or initial_h.any() or initial_c.any():
        raise Unsupported(
            f"an lstm with {', '.join(other) or 'a beginning'} is not evaluated here",
            fix="use a package without it",
        )
    gates = x @ weight_ih.T + (0 if bias is None else bias)
    rows, h, c = [], initial_h, initial_c
    for row in gates:
        i, f, o, z = np.split(row + h @ weight_hh.T, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(z)
        h = _sigmoid(o) * np.tanh(c)
        rows.append(h)
    return np.stack(rows if bool(output_sequence) else rows[-1:]), h, c


def _sigmoid(x: F32) -> F32:
    with np.errstate(over="ignore"):
        found = 1 / (1 + np.exp(-x))
    return found.astype(np.float32)


OPS: Mapping[str, Callable[..., tuple[F32, F32, F32]]] = {"lstm": lstm}
