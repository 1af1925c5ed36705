"""A file of an adapter's tensors: read whole within bounds, and written."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.files.safetensors import SafetensorsFile, Tensor, header_of
from edge.typing import F32

_FLOATS = ("F32", "F16", "BF16", "F64")


def read(file: Path) -> dict[str, F32]:
    """Every tensor in float32; refuses what is no finite float, and what has no numbers."""
    with SafetensorsFile(file) as opened:
        return {name: _finite(opened, name) for name in opened.entries}


def write(file: Path, tensors: Mapping[str, F32], form: str) -> None:
    """As float32, in the order of their names; `form`: who is meant to read it."""
    known = {name: Tensor("F32", tensors[name].shape) for name in sorted(tensors)}
    with file.open("xb") as out:
        out.write(header_of(known, form)[0])
        for name in known:
            out.write(np.ascontiguousarray(tensors[name], "<f4").data)


def _finite(opened: SafetensorsFile, name: str) -> F32:
    entry = opened.entries[name]
    if entry.dtype not in _FLOATS:
        raise Unsupported(
            f"{opened.path}: tensor {name} is of type {entry.dtype:.20}",
            fix="save the adapter in F32, F16 or BF16",
        )
    if not entry.shape or 0 in entry.shape:
        raise Damaged(f"{opened.path}: tensor {name} holds nothing", fix="save the adapter again")
    values = opened.rows(name, 0, entry.shape[0])
    if not np.isfinite(values).all():
        raise Damaged(
            f"{opened.path}: tensor {name} holds NaN, infinity, or more than a float32: its training went wrong",
            fix="take the adapter of an earlier step",
        )
    return values.reshape(entry.shape)
