"""llama.cpp, through its C interface."""

from runtimes.gguf.decoder import GgufDecoder
from runtimes.gguf.exits import ExitGgufDecoder
from runtimes.gguf.flexible import FlexibleGgufDecoder
from runtimes.gguf.memory import memory, numerics
from runtimes.gguf.stored import StoredWeights, read_back

open = GgufDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleGgufDecoder
open_exits = ExitGgufDecoder
stored = StoredWeights

__all__ = ["memory", "numerics", "open", "open_evictable", "open_exits", "read_back", "stored"]
