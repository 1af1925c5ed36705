"""ONNX Runtime on the CPU."""

from edge_runtimes.onnx.decoder import OnnxDecoder
from edge_runtimes.onnx.exits import ExitOnnxDecoder
from edge_runtimes.onnx.flexible import FlexibleOnnxDecoder
from edge_runtimes.onnx.memory import memory, numerics
from edge_runtimes.onnx.rounding import RoundingOnnxDecoder
from edge_runtimes.onnx.stored import OnnxRows

open = OnnxDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleOnnxDecoder
open_exits = ExitOnnxDecoder
read_back = OnnxRows
open_rounding = RoundingOnnxDecoder

__all__ = [
    "memory",
    "numerics",
    "open",
    "open_evictable",
    "open_exits",
    "open_rounding",
    "read_back",
]
