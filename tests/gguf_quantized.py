"""llama.cpp's own quantizer, file to file: what ours is compared with."""

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path

import llama_cpp
import numpy as np

from edge_runtimes.gguf import library

_TYPE = re.compile(r"\((\w+)\)\s*$")
_NAME = re.compile(r"\]\s+(\S+)\s+- \[")


def quantize(
    source: Path,
    out: Path,
    file_type: int,
    importance: Mapping[str, np.ndarray],
    *,
    threads: int = 1,
) -> bool:
    """Whether llama.cpp made a file of this type; `importance` by the tensors' names, or none."""
    params = _params(file_type, importance, threads)
    done: int = llama_cpp.llama_model_quantize(
        str(source).encode(), str(out).encode(), ctypes.byref(params)
    )
    return done == 0


def types(source: Path, file_type: int, importance: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The type that each quantized tensor would get, as llama.cpp says it of a dry run."""
    said: list[str] = []

    def log(_level: int, text: bytes, _data: object) -> None:
        said.append(text.decode(errors="replace"))

    params = _params(file_type, importance, 1)
    params.dry_run = True
    watch = llama_cpp.llama_log_callback(log)
    llama_cpp.llama_log_set(watch, ctypes.c_void_p(0))
    try:
        failed = llama_cpp.llama_model_quantize(
            str(source).encode(), b"nowhere", ctypes.byref(params)
        )
    finally:
        llama_cpp.llama_log_set(library._LOG, ctypes.c_void_p(0))
    assert not failed, "".join(said)[-300:]
    lines = "".join(said).splitlines()
    found = {name[1]: _TYPE.search(line) for line in lines if (name := _NAME.search(line))}
    return {name: type_[1] for name, type_ in found.items() if type_ is not None}


def _params(
    file_type: int, importance: Mapping[str, np.ndarray], threads: int
) -> llama_cpp.llama_model_quantize_params:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = file_type, threads
    if importance:
        kind = llama_cpp.llama_cpp.llama_model_imatrix_data
        entries = (kind * (len(importance) + 1))()
        for entry, (name, values) in zip(entries, importance.items(), strict=False):
            entry.name, entry.size = name.encode(), len(values)
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = ctypes.cast(entries, ctypes.POINTER(kind))
    return params
