"""Where a proposer of boxes starts: its queries look around themselves in a star, say that nothing is there, and move
no box (arXiv 2010.04159, A.4).
"""

import math

import torch

from edge.net import NetSpec
from edge.nn.regions.proposer import ProposerSpec
from edge_runtimes.torch.initial import initial_network

_THERE = 0.01  # the chance of a thing that a head begins with


def initial_proposer(spec: NetSpec, seed: int) -> dict[str, torch.Tensor]:
    config = spec.config
    assert isinstance(config, ProposerSpec), "a proposer of boxes"
    made = initial_network(spec, seed)
    for name, weight in made.items():
        if name.endswith((".look.x", ".look.y", ".look.share", ".last")) or name == "level":
            made[name] = torch.zeros_like(weight)
        elif name.endswith((".look.x.bias", ".look.y.bias")):
            made[name] = _star(config, down=".y." in name)
        elif (
            name.startswith("scores.") and name.endswith(".bias")
        ) or name == "proposal.score.bias":
            made[name] = torch.full_like(weight, -math.log(1 / _THERE - 1))
    return made


def _star(spec: ProposerSpec, *, down: bool) -> torch.Tensor:
    """How far each point of each head is away along one axis: [heads points]. Heads look to all sides, and each point
    as far as its number.
    """
    angles = torch.arange(spec.heads) * (2 * math.pi / spec.heads)
    sides = torch.stack([angles.cos(), angles.sin()], dim=1)
    sides = sides / sides.abs().amax(1, keepdim=True)
    far = torch.arange(1, spec.points + 1)
    return (sides[:, int(down), None] * far).flatten()
