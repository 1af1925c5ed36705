"""Weights in the types that ggml's own library makes, through its C interface.

A row is made apart from all others, so rows may come in blocks, in any order and on any threads: the
bytes are those that llama.cpp's quantizer writes. It computes no products.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path

import llama_cpp
import numpy as np

from edge.artifact.vectors import IMPORTANCE, read
from edge.errors import Damaged
from edge.gguf.kinds import Kind
from edge.quant.unfit import Unfit
from edge.typing import F32, U8

_library = llama_cpp.llama_cpp._lib
_quantize = _library.ggml_quantize_chunk
_quantize.restype = ctypes.c_size_t
_quantize.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
_validate = _library.ggml_validate_row_data
_validate.restype = ctypes.c_bool
_validate.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_needs = _library.ggml_quantize_requires_imatrix
_needs.restype, _needs.argtypes = ctypes.c_bool, [ctypes.c_int]

_LARGEST = 65504.0  # of a weight: the largest fp16
_PRODUCT = 1e14  # of an importance and a squared weight: the square of their sums is a float32


class Quantizer:
    """`importance`: of each input of a weight, by canonical name."""

    def __init__(self, importance: Mapping[str, F32]) -> None:
        self._importance = importance

    @classmethod
    def of_folder(cls, folder: Path) -> "Quantizer":
        """With the importance matrix that lies in a folder, if one does."""
        return cls(read(folder / IMPORTANCE) if (folder / IMPORTANCE).is_file() else {})

    def __call__(self, name: str, row: int, weights: F32, kind: Kind) -> U8:
        """Rows of a weight, from `row` on, as a type's bytes: [N, K] -> [N, bytes]."""
        importance = self._importance.get(name)
        largest = np.abs(weights).max(axis=1, initial=0)
        if not _fits(float(largest.max()), importance):
            raise Unfit(name, row + int(largest.argmax()), kind.name)
        rows, columns = weights.shape
        if importance is None and _needs(kind.id):
            raise Damaged(f"{IMPORTANCE} has no importance of {name}", fix="convert again")
        if importance is not None and len(importance) != columns:
            raise Damaged(f"{IMPORTANCE}: {name} has not {columns} inputs", fix="convert again")
        source = np.ascontiguousarray(weights, np.float32)
        out = np.zeros((rows, kind.row_bytes(columns)), np.uint8)
        given = None if importance is None else importance.ctypes.data
        made = _quantize(kind.id, source.ctypes.data, out.ctypes.data, 0, rows, columns, given)
        assert made == out.nbytes, f"{made} of {out.nbytes} bytes of {name}"
        if not _validate(kind.id, out.ctypes.data, out.nbytes):
            raise Unfit(name, row + int(largest.argmax()), kind.name)
        return out


def _fits(largest: float, importance: F32 | None) -> bool:
    """Whether no sum overflows, of weights up to this: the library would end the process."""
    most = 1.0 if importance is None else float(importance.max(initial=0))
    return largest <= _LARGEST and most * largest**2 <= _PRODUCT
