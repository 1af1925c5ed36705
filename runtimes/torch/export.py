"""A trained decoder as the checkpoint folder that its origin says, which every converter here reads."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from edge.errors import EdgeError
from edge.names import FusedTensor, Location, stored
from edge.source.headers import INDEX, SINGLE
from edge.train.network_origin import NetworkOrigin
from edge.train.origin import Origin
from edge.train.together import Together

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def write(
    folder: Path, origin: Origin, weights: Mapping[str, torch.Tensor], *, writes: bool = True
) -> None:
    """The weights, a file at a time; then the other files, config.json last: before it is there, this
    is no checkpoint. A process that does not write helps to gather weights that lie in shards.
    """
    if not writes:
        for place in (origin.tensors[name] for names in origin.files.values() for name in names):
            tensor(place, weights)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", INDEX):
        (folder / name).unlink(missing_ok=True)
    for file, names in origin.files.items():
        tensors = {
            name: _narrowed(name, tensor(origin.tensors[name], weights), origin.dtypes[name])
            for name in names
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(
            0o644
        )  # safetensors keeps files to their owner; these may go into a package
    if len(origin.files) > 1:
        (folder / INDEX).write_bytes(_index(origin))
    for name in sorted(origin.texts, key="config.json".__eq__):
        (folder / name).write_bytes(origin.texts[name])


def write_pipeline(
    folder: Path,
    model: Together,
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    *,
    rows: int = 0,
) -> None:
    """The same of a checkpoint of several networks: each tensor under the name that the whole gives it. `rows`: of a
    table that goes on in another tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    tensors = {}
    for stage in model.pipeline.stages:
        for name, values in _tensors(model.places[stage.name], weights[stage.name]).items():
            whole = stage.prefix + name.removeprefix(stage.prefix)
            both = {whole: values}
            if name in stage.longer:
                both = {whole: values[:rows], stage.longer[name]: values[rows:]}
            for own, part in both.items():
                tensors[own] = _narrowed(own, part, "F16").contiguous()
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    (folder / SINGLE).chmod(0o644)
    for name in sorted(model.texts, key="config.json".__eq__):
        (folder / name).write_bytes(model.texts[name])


def write_network(folder: Path, origin: NetworkOrigin, weights: Mapping[str, torch.Tensor]) -> None:
    """The same of one network that is no decoder, in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", INDEX):
        (folder / name).unlink(missing_ok=True)
    found = _tensors(origin.places, weights)
    kind = max(origin.dtypes.values(), key=list(origin.dtypes.values()).count)
    tensors = {
        name: _narrowed(name, values, origin.dtypes.get(name, kind)).contiguous()
        for name, values in found.items()
    }
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    (folder / SINGLE).chmod(0o644)
    for name in sorted(origin.texts, key="config.json".__eq__):
        (folder / name).write_bytes(origin.texts[name])


def _tensors(
    places: Mapping[str, Location], weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors of one network, in the names of its own checkpoint."""
    plain = {name: place for name, place in places.items() if place.made is None}
    found = {name: tensor(place, weights) for name, place in stored(plain).items()}
    for name in places.keys() - plain.keys():
        values = weights[name].detach().cpu().numpy()
        parts = places[name].parts(values)
        found |= {own: torch.from_numpy(part.copy()) for own, part in parts.items()}
    return found


def tensor(place: FusedTensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """One of a checkpoint's tensors, from the weights that lie in it."""
    first, *more = place.weights
    if not more and place.weights[first] == (range(place.shape[0]),):
        return weights[first].detach().contiguous()
    made = weights[first].new_empty(place.shape)
    for name, rows in place.weights.items():
        parts = torch.split_with_sizes(weights[name].detach(), [len(part) for part in rows])
        for part, values in zip(rows, parts, strict=True):
            made[part.start : part.stop : part.step] = values
    return made


def _narrowed(name: str, wide: torch.Tensor, dtype: str) -> torch.Tensor:
    """In the type that the checkpoint has, of which float16 ends at 65,504."""
    made = wide.to("cpu", DTYPES[dtype])
    if not made.isfinite().all():
        raise EdgeError(
            f"tensor {name} has grown beyond what {dtype} holds",
            fix="go on from a checkpoint in BF16, or train with lower rates",
        )
    return made


def _index(origin: Origin) -> bytes:
    sizes = (
        DTYPES[origin.dtypes[name]].itemsize * torch.Size(place.shape).numel()
        for name, place in origin.tensors.items()
    )
    table = {name: file for file, names in origin.files.items() for name in names}
    content = {"metadata": {"total_size": sum(sizes)}, "weight_map": table}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
