"""Where llama.cpp may put weights on a CPU.

ggml's kernels for AMX set up tiles by an intrinsic that in GCC 12 names 8 of the 64 bytes it reads: the
compiler drops the others, and a library that it built on such a processor dies of an illegal
instruction at the first product of codes. So weights go where ggml puts them on any other processor.
"""

import ctypes
from typing import Any

import llama_cpp

_CPU = 0  # ggml's number of that type of device
_Places = ctypes.Array[ctypes.c_void_p]


def leave_out_amx() -> None:
    """Before the first model is loaded: take AMX out of the list that llama.cpp chooses from."""
    places = _extra()
    kept = [place for place in places if _name(place) != "AMX"]
    for i in range(len(places)):
        places[i] = kept[i] if i < len(kept) else None


def extra_buffers() -> list[str]:
    """Names of what is left, the first tried first."""
    return [_name(place) for place in _extra()]


def _extra() -> _Places:
    """The library's own list, which a null ends."""
    device = _call("ggml_backend_dev_by_type", _CPU)
    registry = _call("ggml_backend_dev_backend_reg", ctypes.c_void_p(device))
    name = b"ggml_backend_dev_get_extra_bufts"
    address = _call("ggml_backend_reg_get_proc_address", ctypes.c_void_p(registry), name)
    if not address:
        return (ctypes.c_void_p * 0)()
    list_of = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)
    first = list_of(device)
    count = 0
    while first and first[count]:
        count += 1
    if not count:
        return (ctypes.c_void_p * 0)()
    return (ctypes.c_void_p * count).from_address(ctypes.addressof(first.contents))


def _name(place: int | None) -> str:
    return _call("ggml_backend_buft_name", ctypes.c_void_p(place), result=ctypes.c_char_p).decode()


def _call(function: str, *values: object, result: type = ctypes.c_void_p) -> Any:
    found = getattr(llama_cpp.llama_cpp._lib, function)
    found.restype = result
    return found(*values)
