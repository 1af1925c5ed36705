"""Where training starts from."""

from pathlib import Path

import torch

from edge.errors import EdgeError
from edge.net import NetSpec
from edge.nn.vit import VitSpec
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
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


def first_weights(
    spec: NetSpec, seed: int, start: Path | None, what: str
) -> dict[str, torch.Tensor]:
    """Weights to begin with: drawn, or those of a checkpoint; refuses one of another shape. `what` it makes."""
    if start is None:
        return initial_network(spec, seed)
    with Checkpoint.open(start) as checkpoint:
        if checkpoint.spec != spec:
            raise EdgeError(
                f"{start} is not of the recipe's shape",
                fix=f"leave out --start, or name a {what} that this recipe made",
            )
        return {name: torch.from_numpy(whole(checkpoint, name)) for name in checkpoint.places}
