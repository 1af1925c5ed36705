"""The rotated queries of a batch, seen as llama.cpp computes them.

Its callback is asked of every operation, in Python: a context has one only while a window votes. What
a graph calls its queries differs; the rotation whose result is not called a key is theirs in each.
T tokens, H query heads, W head width.
"""

import ctypes

import llama_cpp
import numpy as np

from edge.spec import DecoderSpec
from edge.typing import F32
from edge_runtimes.gguf.state import another

_ROTATION, _KEY = b"ROPE", b"Kcur"


class Queries:
    """`watch` is for a context; `take` gives what it saw since."""

    def __init__(self, spec: DecoderSpec) -> None:
        self._spec = spec
        self._seen: dict[int, list[F32]] = {}

    def take(self) -> list[F32]:
        """Of each layer [T, H, W]; refuses a llama.cpp whose graphs say them otherwise."""
        seen, self._seen = self._seen, {}
        out = []
        for index, layer in enumerate(self._spec.layers):
            row = layer.heads * layer.head_width
            queries = np.concatenate(seen.get(index, [np.zeros(1, np.float32)]))
            if queries.size % row:
                raise another("names queries otherwise")
            out.append(queries.reshape(-1, layer.heads, layer.head_width))
        return out

    def watch(self, tensor: int, asked: bool, _data: object) -> bool:
        """Whether the tensor is wanted; then it comes again, computed."""
        if asked:
            return _operation(tensor) == _ROTATION and not _name(tensor).startswith(_KEY)
        _, _, index = _name(tensor).rpartition(b"-")
        if index.isdigit():
            values = np.empty(_nbytes(tensor) // 4, np.float32)
            _read(tensor, values.ctypes.data, 0, values.nbytes)
            self._seen.setdefault(int(index), []).append(values)
        return True


def _function(name: str, result: type | None, *arguments: type) -> "ctypes._NamedFuncPointer":
    found = getattr(llama_cpp.llama_cpp._lib, name)
    found.restype, found.argtypes = result, arguments
    return found


_operation = _function("ggml_op_desc", ctypes.c_char_p, ctypes.c_void_p)
_name = _function("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)
_nbytes = _function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_read = _function(
    "ggml_backend_tensor_get",
    None,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
)
