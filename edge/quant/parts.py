"""Codes as arrays by name, and back: as processes tell them one another."""

from collections.abc import Mapping

from edge.quant.tensor import QTensor, Scheme
from edge.typing import AnyArray

_OWN = ("codes", "scales", "zeros", "levels", "order")
_ADDED = "added "


def parts_of(tensor: QTensor) -> dict[str, AnyArray]:
    own = {name: getattr(tensor, name) for name in _OWN}
    found = {name: array for name, array in own.items() if array is not None}
    if tensor.added is not None:
        found |= {_ADDED + name: array for name, array in parts_of(tensor.added).items()}
    return found


def of_parts(parts: Mapping[str, AnyArray], scheme: Scheme, columns: int) -> QTensor:
    """Rows of so many columns, by a scheme."""
    own = {name: parts.get(name) for name in _OWN}
    some = {
        name.removeprefix(_ADDED): array for name, array in parts.items() if name.startswith(_ADDED)
    }
    added = of_parts(some, scheme.terms[1], scheme.added(columns)) if some else None
    return QTensor(scheme=scheme, columns=columns, added=added, **own)  # type: ignore[arg-type]
