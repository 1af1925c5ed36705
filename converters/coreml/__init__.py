"""Core ML: Ops that emit MIL, one weight file, and several functions over it."""

from converters.coreml.convert import ALIASES, TOOLS, layout, memory

__all__ = ["ALIASES", "TOOLS", "layout", "memory"]
