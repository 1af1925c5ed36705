"""Adapters of random numbers, and the models that they make when they are merged: oracles of what runs beside."""

from pathlib import Path

import numpy as np
from support import checkpoint

from edge.adapters import peft
from edge.adapters.value import Adapter, Delta, linears, merged
from edge.artifact import vectors
from edge.artifact.manifest import Artifact, recipe_of
from edge.files.config import read_json
from edge.quant.balance import factors
from edge.run.opening import read_back
from edge.source.checkpoint import Checkpoint
from edge.typing import F32, I64
from edge_runtimes.reference.decoder import ReferenceDecoder, checkpoint_weights


def random_adapter(
    folder: Path, source: Path, *, dora: bool = False, seed: int = 0, rank: int = 4
) -> Adapter:
    """In PEFT's folder: of two thirds of a checkpoint's matrices, each large enough to change every logit."""
    rng = np.random.default_rng(seed)
    modules = {}
    with Checkpoint.open(source) as opened:
        known = linears(opened.places)
    for i, (name, (rows, columns)) in enumerate(known.items()):
        if i % 3 == seed % 3:
            continue
        down = rng.normal(size=(rank, columns)).astype(np.float32) * np.float32(columns**-0.5)
        up = rng.normal(size=(rows, rank)).astype(np.float32) * np.float32(0.3)
        length = rng.uniform(0.5, 2, rows).astype(np.float32) if dora else None
        modules[name] = Delta(down, up, 1.5, length)
    adapter = Adapter(modules, where=str(folder))
    folder.mkdir()
    peft.write(folder, adapter)
    return adapter


def merged_checkpoint(folder: Path, source: Path, adapter: Adapter) -> Path:
    """The checkpoint whose weights hold the adapter."""
    tensors: dict[str, np.ndarray] = {}
    with Checkpoint.open(source) as opened:
        deltas = adapter.deltas(opened.places)
        for name, place in opened.places.items():
            weight = opened[name]
            if name in deltas:
                weight = merged(weight, deltas[name])
            tensor = tensors.setdefault(place.tensor, np.zeros(place.stored, np.float32))
            rows = place.rows or (range(place.stored[0]),)
            tensor[np.concatenate([list(part) for part in rows])] = weight
    made = checkpoint(folder, read_json(source / "config.json"), tensors)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (source / name).exists():
            (made / name).write_bytes((source / name).read_bytes())
    return made


def dequantized(artifact: Artifact, source: Path, adapter: Adapter) -> ReferenceDecoder:
    """In numpy: what an artifact's matrices mean, with the adapter merged into them; undone is what they were balanced
    by, so that norms are the checkpoint's own.
    """
    spec, recipe = artifact.manifest.decoder, recipe_of(artifact.manifest)
    opened = Checkpoint.open(source)
    deltas, own = adapter.deltas(opened.places), checkpoint_weights(opened)
    stored = read_back(artifact, recipe)
    balance = vectors.read(artifact.folder / vectors.BALANCE) if recipe.balanced else {}
    by = factors(spec, balance)
    made: dict[tuple[str, bool], F32] = {}

    def whole(name: str, by_row: bool) -> F32:
        shape = opened.shape(name)
        if len(shape) == 1:
            return own(name, None)
        weight = stored.rows(name, 0, shape[0], by_row=by_row)
        rows, columns = by.get(name, (None, None))
        weight = weight if rows is None else weight / rows[:, None]
        weight = weight if columns is None else weight / columns
        return merged(weight, deltas[name]) if name in deltas else weight

    def weight(name: str, rows: I64 | None) -> F32:
        key = name, rows is not None
        if key not in made:
            made[key] = whole(*key)
        return made[key] if rows is None else made[key][rows]

    return ReferenceDecoder(spec, weight)


def error(got: F32, want: F32) -> float:
    """The largest difference, as a share of the largest logit."""
    return float(np.abs(got - want).max() / np.abs(want).max())
