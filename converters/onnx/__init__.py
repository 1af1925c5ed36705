"""ONNX: Ops that emit a graph, one data file, and several small graphs over it."""

from edge_converters.onnx.convert import ALIASES, TOOLS, OnnxLayout, memory

layout = OnnxLayout  # the name that `edge.contracts.Converter` gives it

__all__ = ["ALIASES", "TOOLS", "layout", "memory"]
