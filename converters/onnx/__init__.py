"""ONNX: Ops that emit a graph, one data file, and several small graphs over it."""
