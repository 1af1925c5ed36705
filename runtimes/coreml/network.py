"""A network's package behind `edge.protocols.Net`: Core ML on a Mac, numpy anywhere; its batch is one."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np

from edge.contracts import NetOpening
from edge.errors import Damaged, Unsupported
from edge.names import shapes
from edge.net import NetSpec, Port
from edge.nn.batches import one_by_one
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.typing import F32, AnyArray
from edge_runtimes.coreml.decoder import packages
from edge_runtimes.coreml.evaluator import Evaluator
from edge_runtimes.coreml.memory import BASE
from edge_runtimes.coreml.program import Program
from edge_runtimes.coreml.types import TensorType

_MAIN = "main"
Call = Callable[[Mapping[str, AnyArray]], Mapping[str, AnyArray]]


class CoreMlNet:
    """Over one call of a function, whoever runs it."""

    def __init__(self, spec: NetSpec, call: Call) -> None:
        self.spec, self._call = spec, call

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        return one_by_one(self.spec.config, self._run, inputs)

    def _run(self, inputs: Mapping[str, AnyArray]) -> dict[str, F32]:
        kinds = {
            port.name: np.float32 if port.type == "float" else np.int32
            for port in self.spec.config.inputs
        }
        found = self._call({name: x.astype(kinds[name]) for name, x in inputs.items()})
        return {name: np.asarray(x, np.float32) for name, x in found.items()}


def evaluated(opening: NetOpening) -> CoreMlNet:
    """In numpy. If exact, nothing is rounded on the way."""
    evaluator = Evaluator(checked(opening)[1], "fp32" if opening.exact else "declared")
    return CoreMlNet(opening.spec, lambda inputs: evaluator.call(_MAIN, inputs))


def checked(opening: NetOpening) -> tuple[Path, Program]:
    """The package of a network and its program, whose one function has the ports of its spec."""
    if opening.threads is not None:
        raise Unsupported("Core ML chooses its threads itself", fix="leave out --threads")
    (package,) = packages(opening.folder)[:1]
    program = Program.open(package)
    config = opening.spec.config
    main = program.functions.get(_MAIN)
    if main is None or not (
        _agree(main.inputs, config.inputs) and _agree(main.results, config.outputs)
    ):
        raise Damaged(f"{package} has other ports than its edge.json", fix="convert again")
    return package, program


def _agree(kinds: Mapping[str, TensorType], ports: Sequence[Port]) -> bool:
    """By name, and in every size that is a number."""
    return kinds.keys() == {port.name for port in ports} and all(
        len(kinds[port.name].shape) == len(port.shape)
        and all(
            got in (None, want)
            for got, want in zip(kinds[port.name].shape, port.shape, strict=True)
            if isinstance(want, int)
        )
        for port in ports
    )


def net_memory(spec: NetSpec, recipe: Recipe, activations: int) -> int:
    """Peak resident bytes of a run: an estimate, not measured on a device."""
    known = matrices(spec)
    stored = sum(
        recipe.scheme(name).nbytes(*shape) if name in known else 4 * prod(shape)
        for name, shape in shapes(spec).items()
    )
    return BASE + stored + 3 * activations
