"""mlx-lm's folder of an adapter: adapter_config.json, adapters.safetensors (mlx-lm 0.32).

It has one rank and one scale for all: others are written as zeros of the missing ranks, and with the scale in
`lora_b`. r the rank, K inputs, N outputs.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.adapters import tensors
from edge.adapters.value import Adapter, Delta
from edge.errors import Damaged, Unsupported
from edge.files.config import Config
from edge.typing import F32

CONFIG, WEIGHTS = "adapter_config.json", "adapters.safetensors"
_PARTS = ("lora_a", "lora_b", "m")


def read(folder: Path) -> Adapter:
    """Refuses what is damaged, and whole weights that training changed."""
    config = Config.load(folder / CONFIG)
    config.only("fine_tune_type", "lora", "dora")
    parameters = config.table("lora_parameters")
    if parameters is None:
        raise Damaged(f"{config.where} has no lora_parameters", fix="get the adapter's own file")
    rank, scale = parameters.integer("rank"), parameters.number("scale")
    dora = config.data.get("fine_tune_type") == "dora"
    parts: dict[str, dict[str, F32]] = {}
    for name, values in tensors.read(folder / WEIGHTS).items():
        module, _, part = name.rpartition(".")
        if part not in _PARTS:
            raise Unsupported(
                f"{folder / WEIGHTS}: tensor {name!r:.120} is none of a linear module's {', '.join(_PARTS)}",
                fix="train an adapter of linear modules alone",
            )
        parts.setdefault(module, {})[part] = values
    if not parts:
        raise Damaged(f"{folder / WEIGHTS} holds no adapter", fix="get the file again")
    for name, found in parts.items():
        _check(name, found, rank, dora=dora, where=folder / WEIGHTS)
    modules = {n: Delta(p["lora_a"].T, p["lora_b"].T, scale, p.get("m")) for n, p in parts.items()}
    return Adapter(modules, where=str(folder))


def write(folder: Path, adapter: Adapter, *, dropout: float = 0.0) -> None:
    """Into a folder that is there, which holds no adapter yet."""
    deltas = adapter.modules
    rank = max(delta.rank for delta in deltas.values())
    scales = {delta.scale for delta in deltas.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    content: dict[str, F32] = {}
    for name, delta in deltas.items():
        more = rank - delta.rank
        up = delta.up if delta.scale == scale else np.float32(delta.scale) * delta.up
        content[f"{name}.lora_a"] = np.pad(delta.down, ((0, more), (0, 0))).T
        content[f"{name}.lora_b"] = np.pad(up, ((0, 0), (0, more))).T
        if delta.magnitude is not None:
            content[f"{name}.m"] = delta.magnitude
    tensors.write(folder / WEIGHTS, content, "mlx")
    keys, layers = _keys(deltas)
    dora = any(delta.magnitude is not None for delta in deltas.values())
    config = {
        "fine_tune_type": "dora" if dora else "lora",
        "num_layers": layers,
        "lora_parameters": {"rank": rank, "scale": scale, "dropout": dropout, "keys": keys},
    }
    with (folder / CONFIG).open("x") as file:
        json.dump(config, file, indent=2, sort_keys=True)


def _keys(deltas: Mapping[str, Delta]) -> tuple[list[str], int]:
    """The modules as mlx-lm names them, and in how many of the last layers: their names in a layer, where each
    layer has all of them, or else whole names, which it takes, too.
    """
    found = [re.fullmatch(r".*?\.[^.]*\.(\d+)\.(.+)", name) for name in deltas]
    layers = {int(match[1]) for match in found if match}
    inner = sorted({match[2] for match in found if match})
    if all(found) and len(deltas) == len(layers) * len(inner) and layers == set(range(len(layers))):
        return inner, len(layers)
    return sorted(deltas), 1


def _check(name: str, parts: Mapping[str, F32], rank: int, *, dora: bool, where: Path) -> None:
    if lost := sorted({*_PARTS[: 3 if dora else 2]} - parts.keys()):
        raise Damaged(f"{where} lacks {lost[0]} of {name}", fix="get the file again")
    down, up = parts["lora_a"], parts["lora_b"]
    fit = down.ndim == up.ndim == 2 and down.shape[1] == len(up) == rank
    if not fit or parts.get("m", up[0]).shape != up.shape[1:] or ("m" in parts) != dora:
        shapes = ", ".join(f"{part} {list(values.shape)}" for part, values in parts.items())
        raise Damaged(
            f"{where}: the tensors of {name} do not fit each other, or rank {rank}: {shapes}",
            fix="get both files of one adapter",
        )
