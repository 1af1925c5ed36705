"""torch: one safetensors file of the canonical weights. Writing it needs no torch."""

from edge_converters.torch.layout import ALIASES, TOOLS, TorchLayout, memory

layout = TorchLayout  # the name that `edge.contracts.Converter` gives it

__all__ = ["ALIASES", "TOOLS", "layout", "memory"]
