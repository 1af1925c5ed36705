"""ONNX: Ops that emit a graph, one data file, and several small graphs over it."""

from converters.onnx.convert import TOOLS, convert, differing, memory, nbytes

__all__ = ["TOOLS", "convert", "differing", "memory", "nbytes"]
