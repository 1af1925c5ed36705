"""torch behind `edge.protocols.Net`, on the CPU or on CUDA."""

from math import prod

import torch

from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import NetOpening
from edge.names import shapes
from edge.net import NetSpec, sizes_of
from edge.nn.networks import define
from edge.nn.tracing import matrices
from edge.quant.recipe import Recipe
from edge.system import processors
from edge.typing import F32, AnyArray
from edge_runtimes.torch.decoder import array, device, number
from edge_runtimes.torch.memory import BASE
from edge_runtimes.torch.net import TorchNetOps
from edge_runtimes.torch.weights import DTYPES, load


class TorchNet:
    """A network of an artifact's folder; if exact, all in float32."""

    def __init__(self, opening: NetOpening) -> None:
        self.spec = opening.spec
        own = min(torch.get_num_threads(), processors.here().count)
        self._threads = processors.threads(opening.threads or own)
        self._device = device()
        recipe = recipe_of(Artifact.open(opening.folder).manifest)
        dtype = DTYPES[number(recipe, exact=opening.exact)]
        with torch.inference_mode():
            weights = load(opening.folder, self.spec, recipe, dtype=dtype, device=self._device)
        self._ops = TorchNetOps(weights, dtype=dtype, device=self._device)

    @torch.inference_mode()
    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        sizes_of(self.spec.config, {name: x.shape for name, x in inputs.items()})
        if self._threads != torch.get_num_threads():
            torch.set_num_threads(self._threads)
        given = {name: torch.tensor(x, device=self._device) for name, x in inputs.items()}
        return {name: array(x) for name, x in define(self._ops, self.spec, **given).items()}


def net_memory(spec: NetSpec, recipe: Recipe, activations: int) -> int:
    """Peak resident bytes of a run: weights as they are stored, of one low-bit matrix its floats, and the
    arrays of the widest operation.
    """
    known, every = matrices(spec), shapes(spec)
    stored = sum(
        recipe.scheme(name).nbytes(*shape) if name in known else 4 * prod(shape)
        for name, shape in every.items()
    )
    widest = max(4 * prod(every[name]) for name in known)
    return BASE + stored + (0 if recipe.body.is_float else 2 * widest) + 3 * activations
