"""Where training starts from."""

import torch

from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.spec import DecoderSpec
from edge_runtimes.torch.looking import looking


def initial(spec: DecoderSpec, seed: int) -> dict[str, torch.Tensor]:
    """Random weights by canonical name; what writes to the residual stream starts at zero."""
    rng = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, spread: float) -> torch.Tensor:
        return torch.randn(rows, columns, generator=rng) * spread

    weights = {"embed": normal(spec.vocab, spec.width, 0.02)}
    inner = spec.width**-0.5
    for index, layer in enumerate(spec.layers):
        at, wide = f"layers.{index}.", layer.heads * layer.head_width
        narrow = layer.kv_heads * layer.head_width
        weights |= {
            at + "attn.norm": torch.ones(spec.width),
            at + "attn.q": normal(wide, spec.width, inner / 2),
            at + "attn.k": normal(narrow, spec.width, inner / 2),
            at + "attn.v": normal(narrow, spec.width, inner),
            at + "attn.o": torch.zeros(spec.width, wide),
            at + "mlp.norm": torch.ones(spec.width),
            at + "mlp.gate": normal(layer.ffn_width, spec.width, inner),
            at + "mlp.up": normal(layer.ffn_width, spec.width, inner),
            at + "mlp.down": torch.zeros(spec.width, layer.ffn_width),
        }
    return weights | {"norm": torch.ones(spec.width)}


def initial_network(spec: NetSpec, seed: int) -> dict[str, torch.Tensor]:
    """The same of a network that is no decoder: norms and layer scales are one, biases zero; a vision transformer looks
    at neighbours.
    """
    rng = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in spec.config.shapes().items():
        if name.endswith((".attn.o", "down", ".bias")):
            made[name] = torch.zeros(shape)
        elif len(shape) == 1:
            made[name] = torch.ones(shape)
        elif name == "position":
            made[name] = torch.randn(shape, generator=rng) * 0.02
        else:
            score = 0.5 if name.endswith((".attn.q", ".attn.k")) else 1.0
            made[name] = torch.randn(shape, generator=rng) * score * shape[1] ** -0.5
    return looking(spec.config, made) if isinstance(spec.config, VitSpec) else made
