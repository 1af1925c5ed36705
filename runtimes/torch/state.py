"""How far a run is, and its state on the disk: weights, optimizer and position in one file, which is replaced as a
whole. Where weights lie in shards, each process writes its own, under a name that has the step in it; the first one's
is that one file, which comes last and says how many there are.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edge.errors import Damaged, EdgeError
from edge.files.safetensors import SafetensorsFile
from edge.train import course
from edge.train.course import Position
from edge_runtimes.torch.held import Held, rows_of
from edge_runtimes.torch.ranks import Ranks


def write(
    file: Path,
    position: Position,
    tensors: Mapping[str, torch.Tensor],
    held: Held,
    ranks: Ranks,
) -> None:
    """Replace the state: a killed run leaves the one before. Where weights lie in shards, every process calls it."""
    if held.shards > 1:
        if held.shard:
            _put(_shard(file, position.step, held.shard, held.shards), tensors, {})
        ranks.total(1)  # all are there
    if ranks.first:
        told = {"position": position.json(), "shards": str(held.shards)}
        _put(file, tensors, told)
        kept = {_shard(file, position.step, shard, held.shards) for shard in range(held.shards)}
        for old in set(file.parent.glob(f"{file.stem}-*-of-*{file.suffix}")) - kept:
            old.unlink()


@torch.no_grad()
def read(file: Path, tensors: Mapping[str, torch.Tensor], held: Held) -> Position:
    """Fill the tensors, named KIND/WEIGHT, with what was written, one by one, in however many shards."""
    with ExitStack() as stack:
        first = stack.enter_context(safe_open(_checked(file), "pt"))
        told = first.metadata() or {}
        position = course.position(file, told.get("position", ""))
        count = _count(file, told.get("shards", "1"))
        more = [_checked(_shard(file, position.step, shard, count)) for shard in range(1, count)]
        shards = [first, *(stack.enter_context(safe_open(each, "pt")) for each in more)]
        wanted = {name: tuple(held.shapes[name.partition("/")[2]]) for name in tensors}
        if _shapes(shards) != wanted:
            raise EdgeError(
                f"{file} is the state of another model, or of another optimizer",
                fix="resume it by its own recipe, or name another folder",
            )
        for name, tensor in tensors.items():
            rows = rows_of(wanted[name][0], held.shard, held.shards)
            for shard, opened in enumerate(shards):
                there = rows_of(wanted[name][0], shard, count)
                start, stop = max(rows.start, there.start), min(rows.stop, there.stop)
                if start < stop:
                    found = opened.get_slice(name)[start - there.start : stop - there.start]
                    tensor[start - rows.start : stop - rows.start] = found
    return position


def position(file: Path) -> Position:
    """How far it is, before its tensors are read."""
    with safe_open(_checked(file), "pt") as opened:
        return course.position(file, (opened.metadata() or {}).get("position", ""))


def _put(file: Path, tensors: Mapping[str, torch.Tensor], told: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"new-{file.name}")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, new, metadata=told)
    new.rename(file)


def _shard(file: Path, step: int, shard: int, shards: int) -> Path:
    return file.with_name(f"{file.stem}-{step}-{shard + 1}-of-{shards}{file.suffix}")


def _checked(file: Path) -> Path:
    """A file whose header is as long as it says; refuses one that is not there."""
    if not file.exists():
        raise EdgeError(
            f"{file} is missing: a part of the run's state",
            fix="name a folder on a disk that all machines share, or begin again in another",
        )
    with SafetensorsFile(file):
        return file


def _shapes(shards: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """Of whole tensors, of which each shard has rows."""
    found: dict[str, tuple[int, ...]] = {}
    for opened in shards:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            rows, *rest = opened.get_slice(name).get_shape()
            before = found.get(name, (0, *rest))
            found[name] = (before[0] + rows, *rest)
    return found


def _count(file: Path, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1 << 16:
        raise Damaged(f"{file} has {text!r:.20} shards", fix="name another folder")
    return int(text)
