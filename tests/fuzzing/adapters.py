"""The readers of adapters: a config beside right tensors, and tensors beside a right config, in both layouts."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support import config_of, safetensors

from edge.adapters import folder as adapters
from edge.adapters import mlx, peft
from edge.families import family_of
from edge.files.config import Config
from edge.names import Location

TARGETS = ("q_proj", "down_proj")


@cache
def places() -> dict[str, Location]:
    config = Config(config_of("llama", vocab_size=8), "config.json")
    family = family_of(config)
    return family.names.places(family.spec(config))


@cache
def right(layout: str) -> tuple[dict[str, Any], bytes]:
    """A config and a file of tensors that belong together."""
    rng, tensors = np.random.default_rng(0), {}
    for place in places().values():
        module = place.tensor.removesuffix(".weight")
        if module.endswith(TARGETS):
            (n, k), rank = place.stored, 2
            down, up, lengths = rng.random((rank, k)), rng.random((n, rank)), rng.random(n)
            if layout == "peft":
                at = f"base_model.model.{module}.lora_"
                parts = {"A.weight": down, "B.weight": up, "magnitude_vector": lengths}
                tensors |= {at + name: part.astype("f4") for name, part in parts.items()}
            else:
                parts = {"lora_a": down.T.copy(), "lora_b": up.T.copy(), "m": lengths}
                tensors |= {f"{module}.{name}": part.astype("f4") for name, part in parts.items()}
    config = {
        "peft": {
            "peft_type": "LORA",
            "r": 2,
            "lora_alpha": 4,
            "use_dora": True,
            "target_modules": list(TARGETS),
            "exclude_modules": ["k_proj"],
            "layers_to_transform": [0, 1],
            "layers_pattern": "layers",
            "rank_pattern": {r".*\.q_proj": 2},
            "alpha_pattern": {"down_proj": 3},
            "init_lora_weights": True,
            "modules_to_save": None,
        },
        "mlx": {
            "fine_tune_type": "dora",
            "num_layers": 2,
            "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": list(TARGETS)},
        },
    }
    return config[layout], safetensors(tensors)


def configs(layout: str) -> Callable[[], Sequence[bytes]]:
    def seeds() -> Sequence[bytes]:
        own = right(layout)[0]
        more = own | {"target_modules": r".*\.(?:q|down)_proj"} if layout == "peft" else own
        return [json.dumps(own).encode(), json.dumps(more).encode()]

    return seeds


def tensors(layout: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [right(layout)[1]]


def read_config(layout: str) -> Callable[[Path, bytes], None]:
    return lambda folder, content: _read(layout, folder, content, right(layout)[1])


def read_tensors(layout: str) -> Callable[[Path, bytes], None]:
    return lambda folder, content: _read(
        layout, folder, json.dumps(right(layout)[0]).encode(), content
    )


def _read(layout: str, folder: Path, config: bytes, content: bytes) -> None:
    """What was read is of the model's weights, and numbers."""
    files = {"peft": peft, "mlx": mlx}[layout]
    (folder / files.CONFIG).write_bytes(config)
    (folder / files.WEIGHTS).write_bytes(content)
    for name, delta in adapters.read(folder).deltas(places()).items():
        assert delta.shape == places()[name].shape
        assert np.isfinite(delta.scale)
        assert np.isfinite(delta.down).all()
        assert np.isfinite(delta.up).all()
