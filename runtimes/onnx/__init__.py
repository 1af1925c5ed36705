"""ONNX Runtime on the CPU."""

from runtimes.onnx.decoder import OnnxDecoder

open = OnnxDecoder  # noqa: A001 - the name that `edge.targets.Runtime` gives it

__all__ = ["open"]
