"""torch, on a CPU or on CUDA: artifacts of one safetensors file, and training."""

from edge_runtimes.torch.decoder import TorchDecoder, numerics
from edge_runtimes.torch.exits import ExitTorchDecoder
from edge_runtimes.torch.flexible import FlexibleTorchDecoder
from edge_runtimes.torch.memory import BASE, memory
from edge_runtimes.torch.network import TorchNet, net_memory
from edge_runtimes.torch.stored import TorchRows

open = TorchDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleTorchDecoder
open_exits = ExitTorchDecoder
open_net = TorchNet
open_spliced_exits = ExitTorchDecoder
open_spliced = FlexibleTorchDecoder
read_back = TorchRows
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
