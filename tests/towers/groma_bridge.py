"""Groma's bridge: what its published code computes of a tower's rows, in plain torch."""

import numpy as np

from towers import Fields, Reference, State, Tower


def made(fields: Fields) -> tuple[State, Reference]:
    import torch

    torch.manual_seed(1)
    wide, width = 4 * fields["channels"], fields["hidden_size"]
    mlp = torch.nn.Sequential(
        torch.nn.Linear(wide, width), torch.nn.GELU(), torch.nn.Linear(width, width)
    )

    @torch.no_grad()
    def reference(features: np.ndarray) -> np.ndarray:
        """[B, S S, C] -> [B, S S / 4, D]: of four patches the left two come first, each column downwards."""
        n, side = len(features), fields["side"]
        x = torch.tensor(features).reshape(n, side, side, -1)
        four = [x[:, down::2, across::2] for across in (0, 1) for down in (0, 1)]
        return np.asarray(mlp(torch.cat(four, -1).reshape(n, -1, wide)))

    return {name: value.detach().numpy() for name, value in mlp.state_dict().items()}, reference


def rows(fields: Fields) -> np.ndarray:
    """Of two pictures."""
    rng = np.random.default_rng(1)
    shape = (2, fields["side"] ** 2, fields["channels"])
    return rng.standard_normal(shape).astype(np.float32)


TOWER = Tower(
    tiny={"model_type": "groma_bridge", "side": 4, "channels": 64, "hidden_size": 64},
    made=made,
    variants={"a larger picture, a wider decoder": {"side": 6, "hidden_size": 96}},
    port="features",
    given=rows,
)
