"""The mixer in plain torch."""

from typing import Any

import numpy as np
from towers import Fields, Reference, State, Tower, channels_first, shaken


def made(fields: Fields) -> tuple[State, Reference]:
    import torch
    from torch import nn

    width, patches = fields["hidden_size"], (fields["image_size"] // fields["patch_size"]) ** 2

    def mlp(over: int, inner: int) -> Any:
        return nn.Sequential(
            nn.LayerNorm(width, 1e-6), nn.Linear(over, inner), nn.GELU(), nn.Linear(inner, over)
        )

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, fields["patch_size"], fields["patch_size"])
            self.mix = nn.ModuleList(
                nn.ModuleDict(
                    {
                        "tokens": mlp(patches, fields["tokens_dim"]),
                        "channels": mlp(width, fields["intermediate_size"]),
                    }
                )
                for _ in range(fields["num_hidden_layers"])
            )
            self.head_norm = nn.LayerNorm(width, 1e-6)
            self.classifier = nn.Linear(width, fields["num_labels"])

        def forward(self, image: Any) -> Any:
            x = self.stem(image).flatten(2).transpose(1, 2)
            for parts in self.mix:
                norm, up, act, down = parts["tokens"]
                x = x + down(act(up(norm(x).transpose(1, 2)))).transpose(1, 2)
                x = x + parts["channels"](x)
            return self.classifier(self.head_norm(x).mean(1))

    model = Mixer()
    state = shaken(model)

    @torch.no_grad()
    def reference(image: np.ndarray) -> np.ndarray:
        return np.asarray(model(channels_first(image)))

    return state, reference


TOWER = Tower(
    tiny={
        "model_type": "mixer",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "tokens_dim": 64,
        "image_size": 32,
        "patch_size": 4,
        "num_labels": 7,
    },
    made=made,
)
