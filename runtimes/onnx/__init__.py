"""ONNX Runtime on the CPU."""

from edge_runtimes.onnx.decoder import OnnxDecoder
from edge_runtimes.onnx.exits import ExitOnnxDecoder
from edge_runtimes.onnx.flexible import FlexibleOnnxDecoder
from edge_runtimes.onnx.memory import BASE, memory, numerics
from edge_runtimes.onnx.network import OnnxNet, net_memory
from edge_runtimes.onnx.rounding import RoundingOnnxDecoder, SplicedRoundingOnnxDecoder
from edge_runtimes.onnx.spliced import SplicedExitOnnxDecoder, SplicedOnnxDecoder
from edge_runtimes.onnx.stored import OnnxRows

open = OnnxDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
open_evictable = FlexibleOnnxDecoder
open_exits = ExitOnnxDecoder
open_net = OnnxNet
read_back = OnnxRows
open_rounding = RoundingOnnxDecoder
open_spliced = SplicedOnnxDecoder
open_spliced_exits = SplicedExitOnnxDecoder
open_spliced_rounding = SplicedRoundingOnnxDecoder
ADAPTERS = ("LoRA", "DoRA")  # what each decoder takes beside its products

__all__ = [
    "ADAPTERS",
    "BASE",
    "memory",
    "net_memory",
    "numerics",
    "open",
    "open_evictable",
    "open_exits",
    "open_net",
    "open_rounding",
    "open_spliced",
    "open_spliced_exits",
    "open_spliced_rounding",
    "read_back",
]
