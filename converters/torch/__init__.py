"""torch: one safetensors file of the canonical weights. Writing it needs no torch."""

from edge_converters.torch.layout import ALIASES, BODIES, TOOLS, TorchLayout, memory, net_memory

layout = net_layout = TorchLayout  # the names that `edge.contracts.Converter` gives them

__all__ = ["ALIASES", "BODIES", "TOOLS", "layout", "memory", "net_layout", "net_memory"]
