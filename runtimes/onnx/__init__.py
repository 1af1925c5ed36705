"""ONNX Runtime on the CPU."""

from runtimes.onnx.decoder import OnnxDecoder
from runtimes.onnx.evictable import EvictableOnnxDecoder
from runtimes.onnx.memory import memory, numerics

open = OnnxDecoder  # noqa: A001 - the name that `edge.targets.Runtime` gives it
open_evictable = EvictableOnnxDecoder

__all__ = ["memory", "numerics", "open", "open_evictable"]
