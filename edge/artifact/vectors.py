"""Vectors that an artifact keeps under names, one safetensors file of a kind, from which its bytes can be made again:
how much each input of a weight matters to a library's quantizer, or what weights are balanced by. K inputs.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.files.safetensors import SafetensorsFile
from edge.typing import F32

IMPORTANCE = "importance.safetensors"
BALANCE = "balance.safetensors"


def write(file: Path, table: Mapping[str, F32]) -> None:
    """By name, whatever the order that they come in."""
    header, at = {}, 0
    table = dict(sorted(table.items()))
    for name, values in table.items():
        ends = [at, at + 4 * len(values)]
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": ends}
        at = ends[1]
    text = json.dumps(header).encode()
    data = b"".join(np.ascontiguousarray(values, "<f4").tobytes() for values in table.values())
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def read(path: Path) -> dict[str, F32]:
    """Every vector, [K]; refuses numbers below zero or without end, which none of them has."""
    with SafetensorsFile(path) as file:
        out = {}
        for name, entry in file.entries.items():
            if entry.dtype != "F32" or len(entry.shape) != 1:
                raise Damaged(f"{file.path}: {name!r:.80} is no vector", fix="convert again")
            out[name] = np.ascontiguousarray(file.rows(name, 0, entry.shape[0]))
            if not (np.isfinite(out[name]).all() and (out[name] >= 0).all()):
                raise Damaged(
                    f"{file.path}: {name!r:.80} holds numbers below zero, or none",
                    fix="convert again",
                )
        return out
