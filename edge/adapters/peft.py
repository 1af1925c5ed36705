"""PEFT's folder of an adapter: adapter_config.json, adapter_model.safetensors (peft 0.9 to 0.21).

What it says and we do not compute is refused by its name. r the rank, K inputs, N outputs.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.adapters import tensors
from edge.adapters.patterns import ALL, Targets, by_pattern
from edge.adapters.value import Adapter, Delta
from edge.errors import Damaged, Unsupported
from edge.families._fields import words
from edge.files.config import Config
from edge.typing import F32

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BEFORE = "base_model.model."
_PARTS = {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
}
# Fields that are read here, or change no number that an adapter computes.
_READ = words(
    "r lora_alpha use_rslora use_dora rank_pattern alpha_pattern target_modules exclude_modules "
    "layers_to_transform layers_pattern peft_type init_lora_weights bias"
)
_INERT = words(
    "task_type auto_mapping peft_version base_model_name_or_path revision inference_mode lora_dropout "
    "megatron_core qalora_group_size eva_config runtime_config ephemeral_gpu_offload"
)
# First values that leave the base as it is. The others split the base in two, and their adapter belongs to
# what is left of it.
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")


def read(folder: Path) -> Adapter:
    """Refuses what is damaged, and what says more than LoRA and DoRA of linear modules."""
    config = Config.load(folder / CONFIG)
    _refuse_others(config)
    modules = _modules(tensors.read(folder / WEIGHTS), folder)
    targets = _targets(config)
    if strange := sorted(modules.keys() - targets.among(modules)):
        raise Damaged(
            f"{folder / WEIGHTS} changes {strange[0]!r:.120}, which target_modules of {CONFIG} does not name",
            fix="get both files of one adapter",
        )
    dora = config.flag("use_dora", False)
    scales = _scales(config, {name: len(parts["down"]) for name, parts in modules.items()})
    found = {}
    for name, parts in modules.items():
        if ("magnitude" in parts) != dora:
            raise Damaged(
                f"{folder}: use_dora is {str(dora).lower()}, but {name} has "
                f"{'no' if dora else 'a'} lora_magnitude_vector",
                fix="get both files of one adapter",
            )
        found[name] = Delta(parts["down"], parts["up"], scales[name], parts.get("magnitude"))
    return Adapter(found, targets, str(folder))


def write(folder: Path, adapter: Adapter, *, base: str = "", dropout: float = 0.0) -> None:
    """Into a folder that is there, which holds no adapter yet. `base`: the model it was trained on."""
    content: dict[str, F32] = {}
    for name, delta in adapter.modules.items():
        at = f"{_BEFORE}{name}."
        content |= {f"{at}lora_A.weight": delta.down, f"{at}lora_B.weight": delta.up}
        if delta.magnitude is not None:
            content[f"{at}lora_magnitude_vector"] = delta.magnitude
    tensors.write(folder / WEIGHTS, content, "pt")
    config = _config(adapter) | {"base_model_name_or_path": base, "lora_dropout": dropout}
    with (folder / CONFIG).open("x") as file:
        json.dump(config, file, indent=2, sort_keys=True)


def _config(adapter: Adapter) -> dict[str, Any]:
    """What most modules have, and what others have instead."""
    ranks = {name: delta.rank for name, delta in adapter.modules.items()}
    alphas = {name: _number(d.scale * d.rank) for name, d in adapter.modules.items()}
    rank, alpha = (Counter(all_.values()).most_common(1)[0][0] for all_ in (ranks, alphas))
    lengths = {delta.magnitude is not None for delta in adapter.modules.values()}
    assert len(lengths) == 1, "PEFT has one use_dora for all modules"
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "use_dora": lengths == {True},
        "use_rslora": False,
        "target_modules": sorted(adapter.modules),
        "rank_pattern": {re.escape(n): r for n, r in ranks.items() if r != rank},
        "alpha_pattern": {re.escape(n): a for n, a in alphas.items() if a != alpha},
    }


def _number(value: float) -> int | float:
    return round(value) if abs(value - round(value)) < 1e-12 * abs(value) else value


def _refuse_others(config: Config) -> None:
    config.only("peft_type", "LORA")
    if not config.has("peft_type"):
        raise Damaged(f"{config.where} has no peft_type", fix="get the adapter's own file again")
    config.only("bias", "none")
    if config.data.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise Unsupported(
            f"{config.where}: init_lora_weights is {config.data['init_lora_weights']!r:.60}: the adapter "
            "belongs to a base that this start had changed",
            fix="save it with path_initial_model_for_weight_conversion, which makes it one of the base itself",
        )
    for key, value in config.data.items():
        if value and key not in (*_READ, *_INERT):
            raise Unsupported(
                f"{config.where}: {key} is {value!r:.80}, which is not computed here",
                fix="train an adapter without it: LoRA or DoRA of linear modules; "
                "or merge it with PEFT and convert what that writes",
            )


def _modules(content: Mapping[str, F32], folder: Path) -> dict[str, dict[str, F32]]:
    """By module its `down`, `up` and `magnitude`, each of the shape that the others have."""
    out: dict[str, dict[str, F32]] = {}
    for name, values in content.items():
        if name.endswith("base_layer.weight"):
            raise Unsupported(
                f"{folder / WEIGHTS} holds a whole matrix of the base, {name!r:.120}, which may be another than "
                "the base's own",
                fix="save the adapter with save_embedding_layers=False",
            )
        found = re.fullmatch(re.escape(_BEFORE) + r"(.+?)\.(lora_.+)", name)
        if found is None or found[2] not in _PARTS:
            raise Unsupported(
                f"{folder / WEIGHTS}: tensor {name!r:.120} is none of a linear module's lora_A, lora_B and "
                "lora_magnitude_vector",
                fix="train an adapter of linear modules alone; or merge it with PEFT and convert the result",
            )
        out.setdefault(found[1], {})[_PARTS[found[2]]] = values
    if not out:
        raise Damaged(f"{folder / WEIGHTS} holds no adapter", fix="get the file again")
    for name, parts in out.items():
        _check(name, parts, folder)
    return out


def _check(name: str, parts: Mapping[str, F32], folder: Path) -> None:
    if lost := {"down", "up"} - parts.keys():
        which = "lora_A" if "down" in lost else "lora_B"
        raise Damaged(f"{folder / WEIGHTS} lacks {which} of {name}", fix="get the file again")
    down, up = parts["down"], parts["up"]
    fit = down.ndim == up.ndim == 2 and up.shape[1] == len(down)
    if not fit or parts.get("magnitude", up[:, 0]).shape != up.shape[:1]:
        shapes = ", ".join(str(list(values.shape)) for values in parts.values())
        raise Damaged(
            f"{folder / WEIGHTS}: the tensors of {name} do not fit each other: {shapes}",
            fix="get the file again",
        )


def _targets(config: Config) -> Targets:
    layers, lists = _several(config, "layers_to_transform"), _several(config, "layers_pattern")
    if not all(type(i) is int and 0 <= i < 1 << 16 for i in layers):
        raise config.wrong("layers_to_transform", "a layer's number, or a list of them")
    if not all(isinstance(name, str) and re.fullmatch(r"\w+", name) for name in lists):
        raise config.wrong("layers_pattern", "the name of a list of layers, or several")
    modules = _names(config, "target_modules")
    if not modules:
        raise config.wrong("target_modules", f"a list of names, an expression, or {ALL}")
    exclude = _names(config, "exclude_modules")
    return Targets(modules=modules, exclude=exclude, layers=layers, lists=lists)


def _several(config: Config, key: str) -> tuple[Any, ...]:
    """One value, or a list of them, or none."""
    value = config.data.get(key)
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _names(config: Config, key: str) -> tuple[str, ...] | str:
    value = config.data.get(key)
    if isinstance(value, str):
        return ALL if value.lower() == ALL else value
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise config.wrong(key, "a list of names, or an expression")
    return tuple(value)


def _scales(config: Config, ranks: Mapping[str, int]) -> dict[str, float]:
    """What each module's product is multiplied by, and whether its rank is what the config says."""
    names, rank = list(ranks), config.integer("r")
    wanted = by_pattern(_table(config, "rank_pattern"), names)
    alphas = by_pattern(_table(config, "alpha_pattern"), names)
    alpha, stable = config.number("lora_alpha"), config.flag("use_rslora", False)
    for name, found in ranks.items():
        if wanted.get(name, rank) != found:
            raise Damaged(
                f"{config.where}: {name} is to have rank {wanted.get(name, rank):g}, its tensors have {found}",
                fix="get both files of one adapter",
            )
    return {n: alphas.get(n, alpha) / (r**0.5 if stable else r) for n, r in ranks.items()}


def _table(config: Config, key: str) -> dict[str, float]:
    table = config.table(key)
    return {} if table is None else {name: table.number(name) for name in table.data}
