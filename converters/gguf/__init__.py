"""GGUF: one file with everything that llama.cpp needs to run a model."""

from converters.gguf.convert import ALIASES, TOOLS, layout, memory

__all__ = ["ALIASES", "TOOLS", "layout", "memory"]
