"""DINOv2: transformers has it, and saves it under the published names."""

import numpy as np

from towers import TINY, Fields, Reference, State, Tower, channels_first, shaken
from towers.vit import saved


def made(fields: Fields) -> tuple[State, Reference]:
    import torch
    import transformers

    own = {key: value for key, value in fields.items() if key != "model_type"}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**own, attn_implementation="eager"))
    shaken(model)

    @torch.no_grad()
    def reference(image: np.ndarray) -> np.ndarray:
        return np.asarray(model(channels_first(image)).last_hidden_state)

    return saved(model), reference


BASE = {
    "model_type": "dinov2",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
}
TOWER = Tower(
    tiny={
        **{key: value for key, value in TINY.items() if key != "intermediate_size"},
        "model_type": "dinov2",
        "mlp_ratio": 2,
    },
    made=made,
    variants={"no biases, large epsilon": {"qkv_bias": False, "layer_norm_eps": 0.05}},
    published={"dinov2-base": (BASE, 86_580_480)},
)
