"""Checkpoints of random weights in the shapes of published ones. No time depends on the numbers; but all differ, for
a runtime keeps equal matrices once.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from edge.families import Family, family_of
from edge.files.config import Config
from edge.files.safetensors import Tensor, header_of
from edge.names import Spec
from edge.net import NetSpec
from edge.typing import Shape


def shapes_of(config: Config) -> dict[str, Shape]:
    """Every tensor that a checkpoint of a config has, as it is stored."""
    family: Family = family_of(config)
    spec: Spec = family.spec(config)
    every = {n: s for p in family.names.places(spec).values() for n, s in p.tensors.items()}
    rows = getattr(spec.config, "rows", 0) if isinstance(spec, NetSpec) else 0
    return {
        name: tuple((rows if len(shape) == 3 else rows - 1) if n == -1 else n for n in shape)
        for name, shape in every.items()
    }


def write(file: Path, shapes: Mapping[str, Shape]) -> None:
    """In bfloat16, one tensor at a time."""
    header, offsets = header_of(
        {name: Tensor("BF16", shape) for name, shape in shapes.items()}, "pt"
    )
    rng = np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 22).astype(np.float32) * 0.02).view(np.uint32) >> 16
    with file.open("wb") as out:
        out.write(header)
        for name, shape in shapes.items():
            assert out.tell() == offsets[name]
            left = prod(shape)
            while left:
                turned = np.roll(pool, int(rng.integers(len(pool))))
                some = turned[: min(left, len(pool))].astype(np.uint16)
                out.write(some.tobytes())
                left -= len(some)
