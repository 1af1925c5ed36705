"""What the tests know of each family of networks that are no decoders, one file a family: a `TOWER`, found by
the file's name, which is the family's.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Fields = Mapping[str, Any]
State = Mapping[str, np.ndarray]
# Its inputs, mostly pictures [B, H, W, 3] -> what it gives: of several outputs each by its name.
Reference = Callable[..., np.ndarray | Mapping[str, np.ndarray]]

# Widths that divide into groups of 64, and a picture of sixteen patches.
TINY: Fields = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": 16,
    "patch_size": 4,
}


def pictures(fields: Fields, count: int = 2, seed: int = 1) -> np.ndarray:
    """Numbers of the size that a network takes: [count, side, side, 3]."""
    side = fields["image_size"]
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, side, side, 3)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Tower:
    """`made`: a config's fields -> tensors under published names, and the same network by code that is not
    ours. `variants`: other fields, by what they are. `published`: configs of published checkpoints, with
    their parameters. `port`: the name of the one input, and `given` numbers of the size that it takes; or of
    several inputs each by its name.
    `recipes`: those that it is proved in, on every target.
    """

    tiny: Fields
    made: Callable[[Fields], tuple[State, Reference]]
    variants: Mapping[str, Fields] = field(default_factory=dict)
    published: Mapping[str, tuple[Fields, int]] = field(default_factory=dict)
    port: str = "image"
    given: Callable[[Fields], np.ndarray | Mapping[str, np.ndarray]] = pictures
    recipes: Sequence[str] = ("fp32", "fp16", "int8", "int4")

    def inputs(self, **changes: Any) -> dict[str, np.ndarray]:
        """Numbers of each input, in the order in which `made`'s network takes them."""
        given = self.given({**self.tiny, **changes})
        return dict(given) if isinstance(given, Mapping) else {self.port: given}

    def write(self, folder: Path, **changes: Any) -> Reference:
        """A checkpoint of random weights in a folder, and what it computes."""
        from safetensors.numpy import save_file

        fields = {**self.tiny, **changes}
        state, reference = self.made(fields)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(fields))
        save_file(
            {name: np.ascontiguousarray(value) for name, value in state.items()},
            folder / "model.safetensors",
        )
        return reference


def shaken(model: Any) -> State:
    """A torch model with random numbers wherever it begins with zeros and ones, and what it holds then."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            spread = 0.2 if weight.ndim < 2 else 0.5 / weight[0].numel() ** 0.5
            weight.copy_((weight.ndim < 2) * 0.7 + spread * torch.randn_like(weight))
    model.eval()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def channels_first(image: np.ndarray) -> Any:
    import torch

    return torch.tensor(image.transpose(0, 3, 1, 2).copy())


def _found() -> dict[str, Tower]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"towers.{name}").TOWER for name in names}


TOWERS = _found()
