"""GGUF: one file with everything that llama.cpp needs to run a model."""

from edge_converters.gguf.convert import (
    ALIASES,
    BODIES,
    LIBRARY,
    TOOLS,
    WHOLE_GROUPS,
    layout,
    memory,
    mixed,
)

__all__ = ["ALIASES", "BODIES", "LIBRARY", "TOOLS", "WHOLE_GROUPS", "layout", "memory", "mixed"]
