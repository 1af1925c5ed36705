"""MLX behind `edge.protocols.Net`: Metal on a Mac, a plain CPU elsewhere."""

from math import prod

import mlx.core as mx
import numpy as np

from edge.contracts import NetOpening
from edge.errors import Unsupported
from edge.names import shapes
from edge.net import NetSpec, sizes_of
from edge.nn.networks import define
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.typing import F32, AnyArray
from edge_runtimes.mlx.computing import BASE
from edge_runtimes.mlx.folder import Folder
from edge_runtimes.mlx.net import MlxNetOps
from edge_runtimes.mlx.weights import Weights


class MlxNet:
    """A network of an artifact's folder; if exact, with float32 activations."""

    def __init__(self, opening: NetOpening) -> None:
        if opening.threads is not None:
            raise Unsupported(
                f"{opening.threads} threads were asked for; MLX chooses their number itself",
                fix="leave out --threads",
            )
        self.spec = opening.spec
        self._ops = MlxNetOps(Weights(Folder(opening.folder, opening.spec), exact=opening.exact))

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        sizes_of(self.spec.config, {name: x.shape for name, x in inputs.items()})
        ports = {port.name: port for port in self.spec.config.inputs}
        given = {
            name: mx.array(x).astype(self._ops.weights.dtype)
            if ports[name].type == "float"
            else mx.array(x.astype(np.int32))
            for name, x in inputs.items()
        }
        found = define(self._ops, self.spec, **given)
        mx.eval(list(found.values()))
        return {name: np.array(x.astype(mx.float32)) for name, x in found.items()}


def net_memory(spec: NetSpec, recipe: Recipe, activations: int) -> int:
    """Peak resident bytes of a run: weights as they are stored, and the arrays of some operations: MLX
    keeps what it freed.
    """
    known = matrices(spec)
    stored = sum(
        recipe.scheme(name).nbytes(*shape) if name in known else 4 * prod(shape)
        for name, shape in shapes(spec).items()
    )
    return BASE + stored + 6 * activations
