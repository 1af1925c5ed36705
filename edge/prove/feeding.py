"""What networks of a pipeline are asked about while they are proved: what those before them make of seeded inputs.

Noise alone is not like what a trained network gets: it may be many times as large, and half precision then looks
worse than it is where the network works.
"""

from collections.abc import Callable, Mapping
from functools import cache

from edge.families import Pipeline
from edge.net import NetSpec
from edge.nn.tracing import traced
from edge.protocols import Net
from edge.prove.networks import WORK, Inputs, seeded
from edge.typing import AnyArray


class Feeding:
    """`specs`: the networks of a pipeline, in its order; `oracle`: one of them by name, in float32."""

    def __init__(
        self, pipeline: Pipeline, specs: Mapping[str, NetSpec], oracle: Callable[[str], Net]
    ) -> None:
        self._specs, self._oracle = specs, cache(oracle)
        order = list(specs)
        self._wires = [
            wire
            for wire in pipeline.wires
            if {wire.out[0], wire.into[0]} <= specs.keys()
            and order.index(wire.out[0]) < order.index(wire.into[0])  # what leads back is seeded
        ]

    def inputs(self, name: str, sizes: Mapping[str, int], seed: int) -> Inputs:
        """Of a network at these sizes; seeded where nothing is before it, or that is too much work."""
        return self._inputs(name, sizes, seed, {}, {})

    def _inputs(
        self,
        name: str,
        sizes: Mapping[str, int],
        seed: int,
        masks: dict[str, AnyArray],
        made: dict[str, Inputs],
    ) -> Inputs:
        """`masks`: those of one name are one; `made`: of networks that were asked already."""
        given = dict(seeded(self._specs[name], sizes, seed))
        for port in self._specs[name].config.inputs:
            mask = masks.setdefault(port.name, given[port.name]) if port.values == "mask" else None
            if mask is not None and mask.shape == given[port.name].shape:
                given[port.name] = mask
        for wire in self._wires:
            (before, out), (into, own) = wire.out, wire.into
            if into != name or not self._small(before, sizes):
                continue
            if before not in made:
                its = {**sizes, **self._sizes(before, sizes)}
                made[before] = self._oracle(before)(**self._inputs(before, its, seed, masks, made))
            if made[before][out].shape == given[own].shape:
                given[own] = made[before][out]
        return given

    def _sizes(self, name: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """Of a network before one of these sizes: the same, and of what that has not, a sixteenth."""
        every = self._specs[name].config.sizes
        return {s.name: sizes.get(s.name, max(s.least, s.most // 16)) for s in every}

    def _small(self, name: str, sizes: Mapping[str, int]) -> bool:
        return traced(self._specs[name], **self._sizes(name, sizes))[0].work <= WORK
