"""Groma's tower: transformers' DINOv2, whose positions are of larger pictures than it is shown."""

from collections.abc import Mapping

import numpy as np

from towers import TINY, Fields, Reference, State, Tower, channels_first, shaken
from towers.vit import saved


def made(fields: Fields) -> tuple[State, Reference]:
    import torch
    import transformers

    given = {k: v for k, v in fields.items() if k not in ("model_type", "image_size")}
    own = {**given, "image_size": fields["image_size"] + 2 * fields["patch_size"]}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**own, attn_implementation="eager"))
    shaken(model)

    @torch.no_grad()
    def reference(image: np.ndarray) -> Mapping[str, np.ndarray]:
        out = model(channels_first(image), output_hidden_states=True).hidden_states
        rows = [np.asarray(x[:, 1:]) for x in out]
        ends = dict(zip(("features", "earlier_1", "earlier_2"), rows[:-4:-1], strict=True))
        return {**ends, "mean": np.mean(rows[-4:], axis=0)}

    return saved(model), reference


TOWER = Tower(
    tiny={
        **{key: value for key, value in TINY.items() if key != "intermediate_size"},
        "model_type": "groma_vision",
        "num_hidden_layers": 5,
        "mlp_ratio": 2,
    },
    made=made,
    variants={"no biases, large epsilon": {"qkv_bias": False, "layer_norm_eps": 0.05}},
)
