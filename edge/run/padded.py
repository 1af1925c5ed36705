"""A network that is only ever called at few sizes: what is shorter is padded, and its answers are cut."""

from dataclasses import dataclass

import numpy as np

from edge.net import NetSpec, sizes_of
from edge.protocols import Net
from edge.typing import F32, AnyArray


@dataclass(frozen=True, slots=True)
class PaddedNet:
    """`edge.protocols.Net` over one whose inputs have masks for every size that it pads."""

    net: Net

    @property
    def spec(self) -> NetSpec:
        return self.net.spec

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        config = self.spec.config
        sizes = sizes_of(config, {name: x.shape for name, x in inputs.items()})
        steps = {s.name: s.step(sizes[s.name]) if s.steps else sizes[s.name] for s in config.sizes}

        def lacking(size: int | str) -> tuple[int, int]:
            return (0, steps[size] - sizes[size]) if isinstance(size, str) else (0, 0)

        padded = {
            port.name: np.pad(inputs[port.name], [lacking(size) for size in port.shape])
            for port in config.inputs
        }
        found = self.net(**padded)
        return {
            port.name: found[port.name][
                tuple(slice(sizes[s] if isinstance(s, str) else None) for s in port.shape)
            ]
            for port in config.outputs
        }
