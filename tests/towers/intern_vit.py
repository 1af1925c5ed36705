"""InternViT: transformers computes it as InternVLVisionModel, whose names are not the published ones."""

import numpy as np

from towers import TINY, Fields, Reference, State, Tower, channels_first, shaken

_LAYER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.projection_layer": "attn.proj",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def made(fields: Fields) -> tuple[State, Reference]:
    import torch
    import transformers

    config = transformers.InternVLVisionConfig(
        hidden_size=fields["hidden_size"],
        num_hidden_layers=fields["num_hidden_layers"],
        num_attention_heads=fields["num_attention_heads"],
        intermediate_size=fields["intermediate_size"],
        image_size=[fields["image_size"]] * 2,
        patch_size=[fields["patch_size"]] * 2,
        norm_type=fields["norm_type"],
        use_qk_norm=fields["qk_normalization"],
        attention_bias=fields["qkv_bias"],
        layer_norm_eps=fields["layer_norm_eps"],
        use_mean_pooling=True,  # no norm after the layers
        attn_implementation="eager",
    )
    model = transformers.InternVLVisionModel(config)
    state = shaken(model)

    @torch.no_grad()
    def reference(image: np.ndarray) -> np.ndarray:
        return np.asarray(model(channels_first(image)).last_hidden_state)

    return published(state, fields["num_hidden_layers"]), reference


def published(state: State, layers: int) -> State:
    """The same under the names of the checkpoints that were published."""
    at = "embeddings."
    out = {
        f"{at}class_embedding": state[f"{at}cls_token"],
        f"{at}position_embedding": state[f"{at}position_embeddings"],
    }
    for part in ("weight", "bias"):
        out[f"{at}patch_embedding.{part}"] = state[f"{at}patch_embeddings.projection.{part}"]
    for i in range(layers):
        out |= layer(state, f"encoder.layer.{i}.", f"encoder.layers.{i}.")
    return out


def layer(state: State, theirs: str, ours: str) -> State:
    out = {f"{ours}ls{number}": state[f"{theirs}lambda_{number}"] for number in "12"}
    for part in ("weight", "bias"):
        for name, new in _LAYER.items():
            if f"{theirs}{name}.{part}" in state:
                out[f"{ours}{new}.{part}"] = state[f"{theirs}{name}.{part}"]
        every = [f"{theirs}attention.{q}_proj.{part}" for q in "qkv"]
        if every[0] in state:
            out[f"{ours}attn.qkv.{part}"] = np.concatenate([state[name] for name in every])
    return out


B6 = {
    "model_type": "intern_vit_6b",
    "hidden_size": 3200,
    "num_hidden_layers": 45,
    "num_attention_heads": 25,
    "intermediate_size": 12800,
    "image_size": 448,
    "patch_size": 14,
    "norm_type": "rms_norm",
    "qk_normalization": True,
    "qkv_bias": False,
    "layer_norm_eps": 1e-6,
}
M300 = {
    **B6,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "norm_type": "layer_norm",
    "qk_normalization": False,
    "qkv_bias": True,
}
TOWER = Tower(
    tiny={
        **TINY,
        "model_type": "intern_vit_6b",
        "norm_type": "layer_norm",
        "qk_normalization": False,
        "qkv_bias": True,
        "layer_norm_eps": 1e-6,
    },
    made=made,
    variants={
        "as 6B": {"norm_type": "rms_norm", "qk_normalization": True, "qkv_bias": False},
        # Of q and k, transformers keeps 1e-6, where the published code takes the field.
        "RMS norms, large epsilon": {"norm_type": "rms_norm", "layer_norm_eps": 0.05},
    },
    # Of tensors' shapes: layers of 302.0 and 5,529.6 millions (facts), and patches, token, positions.
    published={
        "internvit-300m-448px": (M300, 304_000_000),
        "internvit-6b-448px": (B6, 5_540_000_000),
    },
)
