"""An adapter as the file that llama.cpp takes beside a model's: two tensors of each that it changes.

A tensor may be several weights, stacked, their rows in another order. N rows of a tensor, K columns, R rank.
"""

from collections.abc import Iterator
from typing import IO

import numpy as np

from edge.adapters.branches import Branches
from edge.gguf import keys
from edge.gguf.architectures import Architecture, places, stacks
from edge.gguf.headers import Region, aligned, header, offsets
from edge.gguf.kinds import BY_NAME
from edge.names import shapes
from edge.spec import DecoderSpec
from edge.typing import F32


def write(file: IO[bytes], branches: Branches, spec: DecoderSpec, arch: Architecture) -> None:
    """Of branches that have no gain, which llama.cpp has no word for."""
    tensors = dict(_tensors(branches, spec, arch))
    regions = {name: Region(BY_NAME["F32"], a.shape, 0) for name, a in tensors.items()}
    said = {
        "general.type": keys.text("adapter"),
        "general.architecture": keys.text(arch.name),
        "adapter.type": keys.text("lora"),
        "adapter.lora.alpha": keys.number(0.0),  # the scale is in the tensors
    }
    file.write(header(said, regions, offsets(regions)[0]))
    for values in tensors.values():
        file.write(np.ascontiguousarray(values, "<f4").data)
        file.write(bytes(aligned(values.nbytes) - values.nbytes))


def _tensors(
    branches: Branches, spec: DecoderSpec, arch: Architecture
) -> Iterator[tuple[str, F32]]:
    """down [R, K] and up [N, R] of each tensor."""
    lie, known = places(spec, arch, head=False), shapes(spec)
    for tensor, stacked in stacks(spec, arch, head=False).items():
        heights = [known[name][0] for name in stacked.weights]
        branch = branches.stacked(stacked.weights, heights)
        if branch is None:
            continue
        assert branch.gain is None, "llama.cpp multiplies no rows"
        up, row = np.empty_like(branch.up), 0
        for name, height in zip(stacked.weights, heights, strict=True):
            (place,) = lie[name]
            order = np.arange(height) if place.order is None else place.order
            up[place.first + order] = branch.up[row : row + height]
            row += height
        yield f"{tensor}.lora_a", branch.down
        yield f"{tensor}.lora_b", up
