"""How far a run is, and its state on the disk: weights, optimizer and position in one file, which is
replaced as a whole.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edge.data.corpus import StreamPosition
from edge.errors import Damaged, EdgeError
from edge.files.safetensors import SafetensorsFile


@dataclass(kw_only=True)
class Position:
    """How far a run is."""

    step: int = 0
    tokens: int = 0
    stage: int = 0
    since: int = 0  # the step at which this stage began
    seconds: float = 0.0
    loss: float = 0.0
    right: dict[int, float] = field(default_factory=dict)  # by stage: share of right answers
    places: list[StreamPosition] = field(default_factory=list)  # in the texts, of every split
    texts: str = ""  # their digest


def write(file: Path, position: Position, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace the state: a killed run leaves the one before."""
    new = file.with_name("new")
    save_file(dict(tensors), new, metadata={"position": json.dumps(asdict(position))})
    new.rename(file)


@torch.no_grad()
def read(file: Path, tensors: Mapping[str, torch.Tensor]) -> Position:
    """Fill the tensors with what was written, one by one."""
    with SafetensorsFile(file) as checked:
        found = {name: entry.shape for name, entry in checked.entries.items()}
    if found != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise EdgeError(
            f"{file} is the state of another model, or of another optimizer",
            fix="resume it by its own recipe, or name another folder",
        )
    with safe_open(file, "pt") as opened:
        position = _position(file, (opened.metadata() or {}).get("position", ""))
        for name, tensor in tensors.items():
            tensor.copy_(opened.get_tensor(name))
    return position


def _position(file: Path, text: str) -> Position:
    try:
        raw = json.loads(text)
        raw["right"] = {int(stage): share for stage, share in raw["right"].items()}
        raw["places"] = [StreamPosition(**place) for place in raw.get("places", [])]
        return Position(**raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            f"{file} does not say how far the run is: {error}", fix="name another folder"
        ) from None
