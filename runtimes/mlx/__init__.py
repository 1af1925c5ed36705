"""MLX: Metal on a Mac; on Linux its CPU kernels, right for proof."""

from runtimes.mlx.computing import memory, numerics
from runtimes.mlx.decoder import MlxDecoder
from runtimes.mlx.exits import ExitMlxDecoder
from runtimes.mlx.flexible import FlexibleMlxDecoder
from runtimes.mlx.stored import MlxRows

open = MlxDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleMlxDecoder
open_exits = ExitMlxDecoder
read_back = MlxRows

__all__ = ["memory", "numerics", "open", "open_evictable", "open_exits", "read_back"]
