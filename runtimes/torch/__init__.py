"""torch, on a CPU or on CUDA: artifacts of one safetensors file, and training."""

from runtimes.torch.decoder import TorchDecoder, numerics
from runtimes.torch.memory import memory

open = TorchDecoder  # noqa: A001 - the name that `edge.targets.Runtime` gives it

__all__ = ["memory", "numerics", "open"]
