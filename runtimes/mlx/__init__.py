"""MLX: Metal on a Mac; on Linux its CPU kernels, right for proof."""

from edge_runtimes.mlx.computing import BASE, memory, numerics
from edge_runtimes.mlx.decoder import MlxDecoder
from edge_runtimes.mlx.exits import ExitMlxDecoder
from edge_runtimes.mlx.flexible import FlexibleMlxDecoder
from edge_runtimes.mlx.network import MlxNet, net_memory
from edge_runtimes.mlx.stored import MlxRows

open = MlxDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleMlxDecoder
open_exits = ExitMlxDecoder
open_net = MlxNet
open_spliced_exits = ExitMlxDecoder
open_spliced = FlexibleMlxDecoder
read_back = MlxRows
ADAPTERS = ("LoRA", "DoRA")  # what each decoder takes beside its products

__all__ = [
    "ADAPTERS",
    "BASE",
    "memory",
    "net_memory",
    "numerics",
    "open",
    "open_evictable",
    "open_exits",
]
__all__ += ["open_net", "open_spliced", "open_spliced_exits", "read_back"]
