"""The plain vision transformer: transformers has it, and saves it under the published names."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from towers import TINY, Fields, Reference, State, Tower, channels_first, shaken


def saved(model: Any) -> State:
    """What transformers writes of a model: under the names that were published, not those of its modules."""
    from safetensors.numpy import load_file

    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def made(fields: Fields) -> tuple[State, Reference]:
    import torch
    import transformers

    own = {
        key: value for key, value in fields.items() if key not in ("model_type", "architectures")
    }
    kind = getattr(transformers, fields["architectures"][0])
    model = kind(transformers.ViTConfig(**own, attn_implementation="eager"))
    shaken(model)

    @torch.no_grad()
    def reference(image: np.ndarray) -> np.ndarray:
        out = model(channels_first(image))
        found = out.logits if hasattr(out, "logits") else out.last_hidden_state
        return np.asarray(found)

    return saved(model), reference


BASE = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
    "num_labels": 1000,
}
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
TOWER = Tower(
    tiny={
        **TINY,
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "num_labels": 7,
        "layer_norm_eps": 1e-12,
    },
    made=made,
    variants={
        "no biases, large epsilon": {"qkv_bias": False, "layer_norm_eps": 0.05},
        "without a head": {"architectures": ["ViTModel"]},
    },
    # Of their papers and cards: 86,567,656 and 304,326,632.
    published={"vit-base-patch16-224": (BASE, 86_567_656), "vit-large-patch16-224": ({**BASE, **LARGE}, 304_326_632)},
)  # fmt: skip
