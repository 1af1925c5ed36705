"""InternVL's projector: what its published code computes of a tower's rows, in plain torch."""

import numpy as np

from towers import Fields, Reference, State, Tower


def made(fields: Fields) -> tuple[State, Reference]:
    import torch

    torch.manual_seed(1)
    wide, width = 4 * fields["channels"], fields["hidden_size"]
    mlp = torch.nn.Sequential(
        torch.nn.LayerNorm(wide),
        torch.nn.Linear(wide, width),
        torch.nn.GELU(),
        torch.nn.Linear(width, width),
    )

    @torch.no_grad()
    def reference(features: np.ndarray) -> np.ndarray:
        """[B, S S + 1, C], the class row first -> [B, S S / 4, D]"""
        x = torch.tensor(features)[:, 1:]
        n, side = len(x), fields["side"]
        x = x.reshape(n, side, side // 2, -1).permute(0, 2, 1, 3)
        x = x.reshape(n, side // 2, side // 2, -1)
        if fields["ps_version"] == "v2":
            x = x.permute(0, 2, 1, 3)
        return np.asarray(mlp(x.reshape(n, -1, wide)))

    return {name: value.detach().numpy() for name, value in mlp.state_dict().items()}, reference


def rows(fields: Fields) -> np.ndarray:
    """Of two tiles."""
    rng = np.random.default_rng(1)
    shape = (2, fields["side"] ** 2 + 1, fields["channels"])
    return rng.standard_normal(shape).astype(np.float32)


TINY: Fields = {
    "model_type": "internvl_projector",
    "side": 4,
    "channels": 64,
    "hidden_size": 64,
    "ps_version": "v2",
}
TOWER = Tower(
    tiny=TINY,
    made=made,
    variants={"the order first published": {"ps_version": "v1"}},
    port="features",
    given=rows,
)
