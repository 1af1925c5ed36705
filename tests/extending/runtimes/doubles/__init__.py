"""Runs the target `doubles`: numpy in float64, which nothing else here computes in."""

from edge_runtimes.doubles.decoder import DoublesDecoder, memory, numerics
from edge_runtimes.doubles.stored import DoublesRows

open = DoublesDecoder  # noqa: A001 - the name that `edge.contracts.Runtime` gives it
read_back = DoublesRows

__all__ = ["memory", "numerics", "open", "read_back"]
