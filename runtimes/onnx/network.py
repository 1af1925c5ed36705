"""ONNX Runtime behind `edge.protocols.Net`: one graph, a row of the batch at a time.

A row alone has the same answer whatever lies beside it, also where a kernel rounds the whole input by one
scale.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edge.contracts import NetOpening
from edge.errors import Damaged, EdgeError
from edge.names import shapes
from edge.net import NetSpec, Port
from edge.nn.batches import one_by_one
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.system import processors
from edge.system.memory import give_back
from edge.typing import F32, AnyArray
from edge_runtimes.onnx import external
from edge_runtimes.onnx.call import refused
from edge_runtimes.onnx.decoder import EXACT, STEP, session_options
from edge_runtimes.onnx.memory import BASE, packed_bytes

SIGNED = "signed.onnx"
_KINDS = {"float": "tensor(float)", "int": "tensor(int64)"}


class OnnxNet:
    """A network of an artifact's folder; if exact, by the twin with float activations."""

    def __init__(self, opening: NetOpening) -> None:
        self.spec = opening.spec
        self._file = file = opening.folder / (EXACT if opening.exact else _fast(opening.folder))
        external.check(file)
        options = session_options(opening.threads, alone=opening.alone)
        try:
            self._session = ort.InferenceSession(
                file, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            _agree(self._session, self.spec, file)
        except EdgeError:
            raise
        except Exception as error:  # onnxruntime has no public base class
            raise refused(file, error) from None
        give_back()  # what reading the graph and packing its weights took
        # What a call needed lies idle while other networks work: it is given back, 20 of a small voice's 206 MB.
        self._how = ort.RunOptions()
        self._how.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        return one_by_one(self.spec.config, self._run, inputs)

    def _run(self, inputs: Mapping[str, AnyArray]) -> dict[str, F32]:
        kinds = {port.name: _numpy(port) for port in self.spec.config.inputs}
        names = [port.name for port in self.spec.config.outputs]
        given = {name: np.ascontiguousarray(x, kinds[name]) for name, x in inputs.items()}
        try:
            found = self._session.run(names, given, self._how)
        except Exception as error:  # of a graph that cannot be computed as it is
            raise refused(self._file, error) from None
        return dict(zip(names, found, strict=True))


def net_memory(spec: NetSpec, recipe: Recipe, activations: int) -> int:
    """Peak resident bytes of a run: weights as they are packed, and the arrays of the widest operation,
    whose inputs and outputs live on beside it.
    """
    known = matrices(spec)
    others = sum(4 * prod(s) for name, s in shapes(spec).items() if name not in known)
    return BASE + packed_bytes(spec, recipe, known) + others + 3 * activations


def _fast(folder: Path) -> str:
    """The graph that this processor computes fastest, and right."""
    signed = (folder / SIGNED).is_file() and processors.multiplies_bytes()
    return SIGNED if signed else STEP


def _numpy(port: Port) -> type[np.generic]:
    return np.float32 if port.type == "float" else np.int64


def _agree(session: ort.InferenceSession, spec: NetSpec, file: Path) -> None:
    """A manifest may lie: its ports must be the graph's."""
    said = [_ports(spec.config.inputs), _ports(spec.config.outputs)]
    got = [_found(session.get_inputs()), _found(session.get_outputs())]
    if got != said:
        raise Damaged(f"{file} has other ports than its edge.json", fix="convert again")


def _ports(ports: tuple[Port, ...]) -> dict[str, Any]:
    return {
        port.name: (_KINDS[port.type], [n if isinstance(n, int) else None for n in port.shape])
        for port in ports
    }


def _found(values: Any) -> dict[str, Any]:
    return {v.name: (v.type, [n if isinstance(n, int) else None for n in v.shape]) for v in values}
