"""Shapes of weights by name, for the specs of networks. A bias is NAME.bias."""

from edge.spec import Norm
from edge.typing import Shape

LAYER = Norm(eps=1e-5, kind="layer")  # as torch has it where nothing else is said


def matrix(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, Shape]:
    """What x is multiplied by, transposed."""
    return {name: (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}


def norm(name: str, width: int, kind: Norm = LAYER) -> dict[str, Shape]:
    return {name: (width,), **({f"{name}.bias": (width,)} if kind.kind == "layer" else {})}
