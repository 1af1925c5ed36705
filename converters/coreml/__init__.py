"""Core ML: Ops that emit MIL, one weight file, and several functions over it."""

from edge_converters.coreml.convert import (
    ALIASES,
    BODIES,
    FIXED_CACHES,
    TOOLS,
    WHOLE_GROUPS,
    layout,
    memory,
    net_layout,
    net_memory,
)

__all__ = [
    "ALIASES",
    "BODIES",
    "FIXED_CACHES",
    "TOOLS",
    "WHOLE_GROUPS",
    "layout",
    "memory",
    "net_layout",
    "net_memory",
]
