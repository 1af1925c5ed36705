"""Where a small vision transformer starts: what its first heads look at, and what its patches tell."""

import math

import pytest

pytest.importorskip("torch")
import torch

from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.spec import Norm
from edge_runtimes.torch.initial import initial_network
from edge_runtimes.torch.looking import LAYERS, NEIGHBOURS

NORM = Norm(kind="layer", eps=1e-6)


def spec(grid: tuple[int, int] = (8, 8), **changes: object) -> NetSpec:
    shape: dict[str, object] = {
        "grid": grid, "patch": 14, "width": 192, "layers": 4, "heads": 8, "ffn_width": 64, "norm": NORM,
    }  # fmt: skip
    return NetSpec(kind="vit", config=VitSpec(**{**shape, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [(8, 8), (6, 9)])
def test_a_head_looks_at_one_neighbour(grid: tuple[int, int]) -> None:
    """By the attention of an empty picture, worked out head by head."""
    made, (rows, columns), wide = initial_network(spec(grid), 1), grid, 24
    x = torch.nn.functional.layer_norm(made["position"], (192,))
    for layer in range(LAYERS):
        q, k = (x @ made[f"layers.{layer}.attn.{name}"].T for name in "qk")
        for head in range(8):
            mine = slice(head * wide, (head + 1) * wide)
            share = torch.softmax(q[:, mine] @ k[:, mine].T / math.sqrt(wide), -1)
            down, across = NEIGHBOURS[(layer * 8 + head) % len(NEIGHBOURS)]
            inside = [
                float(share[1 + r * columns + c, 1 + (r + down) * columns + c + across])
                for r in range(max(0, -down), rows - max(0, down))
                for c in range(max(0, -across), columns - max(0, across))
            ]
            assert min(inside) > 0.5, (layer, head)


def test_patches_tell_waves_and_tints_and_nothing_of_plain_paper() -> None:
    patch = initial_network(spec(), 1)["patch"].double()
    told = patch[patch.norm(dim=1) > 0]
    lengths = told.norm(dim=1)
    assert torch.allclose(lengths, lengths[0].expand_as(lengths), rtol=1e-5)
    products = (told / lengths[:, None]) @ (told / lengths[:, None]).T
    assert torch.allclose(products, torch.eye(len(told), dtype=torch.float64), atol=1e-5)
    grey = torch.full((14 * 14 * 3,), 2.0, dtype=torch.float64)
    assert torch.allclose(patch @ grey, torch.zeros(192, dtype=torch.float64), atol=1e-4)
    red = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64).repeat(14 * 14)
    assert (patch @ red).abs().max() > 1


def test_a_network_of_another_kind_starts_as_any() -> None:
    """A stem, or heads that are too narrow for waves."""
    for other in (spec(stem=((2, 8),)), spec(heads=64)):
        at = initial_network(other, 1)["position"]
        assert float(at.abs().max()) < 0.2
