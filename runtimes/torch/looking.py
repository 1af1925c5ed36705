"""Where a small vision transformer starts, so that it need not find out first that pixels have neighbours.

Three things which a network from nothing spends most of a short training on. Patches are told as their waves (the
cosine transform of their brightness) and their tint; places as waves too, in rows of their own; and each head of the
first layers looks at one neighbour: its scores are those of the place next to its own (as arXiv 2305.09828 starts q
and k from what trained ones look like).
"""

import math

import torch

from edge.nn.vit import VitSpec

Tensors = dict[str, torch.Tensor]

# Rows and columns to the neighbour of each head, one after the other.
NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, 1), (-1, 1), (1, -1), (0, -2), (0, 2))
LAYERS = 3  # that look so
_CONTENT = 0.35  # what pixels count beside places
_REST = 0.2  # of what q and k were before
_PEAK = 0.5  # a wave's share in a score: a neighbour then has 0.9 of all attention


def looking(spec: VitSpec, weights: Tensors) -> Tensors:
    """`weights`, with others of patches, places, and q and k of the first layers. As they are where the network has a
    stem, or where a head is too narrow for waves.
    """
    inner = spec.width // spec.heads
    waves = inner // 4
    if spec.stem or not waves or spec.width - inner < 3:
        return weights
    keep = spec.width - inner  # columns of what is seen; the others tell the place
    made = dict(weights)
    made["patch"] = torch.zeros_like(weights["patch"])
    seen = _waves(spec.patch)[: keep - 2]
    made["patch"][: len(seen)] = seen * _CONTENT
    made["patch"][keep - 2 : keep] = _tints(spec.patch) * _CONTENT
    made["position"] = weights["position"].clone()
    made["position"][1:, keep : keep + 4 * waves] += _places(spec.grid, waves)
    size, gain = max(spec.grid), math.sqrt(_PEAK * math.sqrt(inner))
    for layer in range(min(LAYERS, spec.layers)):
        q, k = (made[f"layers.{layer}.attn.{name}"] * _REST for name in "qk")
        for head in range(spec.heads):
            for axis, by in enumerate(NEIGHBOURS[(layer * spec.heads + head) % len(NEIGHBOURS)]):
                at, place = (
                    slice(start + 2 * waves * axis, start + 2 * waves * (axis + 1))
                    for start in (head * inner, keep)
                )
                q[at, place] += gain * _turn(by, waves, size)
                k[at, place] += gain * torch.eye(2 * waves)
        made[f"layers.{layer}.attn.q"], made[f"layers.{layer}.attn.k"] = q, k
    return made


def _waves(side: int) -> torch.Tensor:
    """The cosine transform of a patch's brightness, the slowest waves first and the mean left out."""
    middle = torch.arange(side) + 0.5
    lines = [torch.cos(math.pi * middle * k / side) * math.sqrt(2 / side) for k in range(side)]
    lines[0] = lines[0] / math.sqrt(2)
    pairs = sorted(
        ((i, j) for i in range(side) for j in range(side)), key=lambda p: (p[0] ** 2 + p[1] ** 2, p)
    )
    planes = torch.stack([torch.outer(lines[i], lines[j]) for i, j in pairs[1:]])
    return (planes[..., None].expand(*planes.shape, 3) / math.sqrt(3)).reshape(len(planes), -1)


def _tints(side: int) -> torch.Tensor:
    """Red against green, and both against blue, of a whole patch."""
    colours = torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    colours = colours / colours.norm(dim=1, keepdim=True) / side
    return colours[:, None].expand(2, side * side, 3).reshape(2, -1)


def _angles(count: int, size: int) -> torch.Tensor:
    return math.pi * torch.arange(1, count + 1) / size


def _places(grid: tuple[int, int], count: int) -> torch.Tensor:
    """[rows columns, 4 count]: cosine and sine of each wave, down and across."""
    angles = _angles(count, max(grid))
    down, across = (
        torch.stack([torch.cos(at), torch.sin(at)], -1).flatten(1)
        for at in (torch.arange(size)[:, None] * angles for size in grid)
    )
    rows, columns = grid
    return torch.cat(
        [
            down[:, None].expand(rows, columns, -1),
            across[None].expand(rows, columns, -1),
        ],
        -1,
    ).reshape(rows * columns, -1)


def _turn(by: int, count: int, size: int) -> torch.Tensor:
    """The waves of a place -> those of the place so many further: [2 count, 2 count]."""
    angles, at = _angles(count, size) * by, 2 * torch.arange(count)
    turned = torch.zeros(2 * count, 2 * count)
    turned[at, at] = turned[at + 1, at + 1] = torch.cos(angles)
    turned[at + 1, at] = torch.sin(angles)
    turned[at, at + 1] = -torch.sin(angles)
    return turned
