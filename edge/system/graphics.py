"""Whether a GPU may be here, before a library that would know is loaded: that takes seconds, and memory."""

import ctypes
import sys

_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}  # NVIDIA's, in WSL as well


def may_have_cuda() -> bool:
    """Whether NVIDIA's driver is installed."""
    name = _DRIVERS.get(sys.platform)
    if name is None:
        return False
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
