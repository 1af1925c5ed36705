"""ONNX Runtime on the CPU."""

from runtimes.onnx.decoder import OnnxDecoder
from runtimes.onnx.exits import ExitOnnxDecoder
from runtimes.onnx.flexible import FlexibleOnnxDecoder
from runtimes.onnx.memory import memory, numerics
from runtimes.onnx.rounding import RoundingOnnxDecoder
from runtimes.onnx.stored import OnnxRows

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
