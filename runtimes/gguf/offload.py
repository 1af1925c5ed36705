"""How many layers go to a GPU: as `EDGE_GPU_LAYERS` says, or all where the library can use one."""

import os

import llama_cpp

from edge.errors import EdgeError, Unsupported

VARIABLE = "EDGE_GPU_LAYERS"


def gpu_layers() -> int | None:
    """A number of layers, 0 for none; None: nothing is said."""
    said = os.environ.get(VARIABLE, "").strip()
    if not said:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < 7):
        raise EdgeError(f"{VARIABLE} is {said!r:.40}", fix="give a number of layers, 0 for none")
    if int(said) and not llama_cpp.llama_supports_gpu_offload():
        raise Unsupported(
            f"{VARIABLE} is {said}, and this llama.cpp was built without a GPU",
            fix="leave it out, or install llama-cpp-python built for CUDA, Metal or Vulkan",
        )
    return int(said)
