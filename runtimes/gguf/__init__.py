"""llama.cpp, through its C interface."""

from edge.contracts import Opening
from edge_runtimes.gguf.decoder import GgufDecoder
from edge_runtimes.gguf.exits import ExitGgufDecoder
from edge_runtimes.gguf.flexible import FlexibleGgufDecoder
from edge_runtimes.gguf.memory import BASE, memory, numerics
from edge_runtimes.gguf.stored import StoredWeights, read_back

open = GgufDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleGgufDecoder
open_exits = ExitGgufDecoder
stored = StoredWeights
ADAPTERS = ("LoRA",)  # llama.cpp has no lengths of rows

__all__ = [
    "ADAPTERS",
    "BASE",
    "memory",
    "numerics",
    "open",
    "open_evictable",
    "open_exits",
    "open_spliced",
]
__all__ += ["read_back", "stored"]


def open_spliced(opening: Opening) -> GgufDecoder:
    """One whose cache can be cut, but where it is to be exact."""
    return GgufDecoder(opening) if opening.exact else FlexibleGgufDecoder(opening)
