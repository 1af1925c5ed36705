"""ONNX: Ops that emit a graph, one data file, and several small graphs over it."""

from edge_converters.onnx.convert import (
    ALIASES,
    BODIES,
    NET_ALIASES,
    TOOLS,
    layout,
    memory,
    net_layout,
    net_memory,
)

__all__ = [
    "ALIASES",
    "BODIES",
    "NET_ALIASES",
    "TOOLS",
    "layout",
    "memory",
    "net_layout",
    "net_memory",
]
