"""An artifact that is opened with an adapter beside its weights, which stay on the disk as they are."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import prod
from pathlib import Path

from edge import targets
from edge.adapters import folder as adapters
from edge.adapters.branches import Branches, beside
from edge.adapters.value import Delta
from edge.artifact import vectors
from edge.artifact.manifest import Artifact, recipe_of
from edge.errors import EdgeError, Unsupported
from edge.families import families
from edge.files.hashing import sha256
from edge.quant.balance import factors
from edge.run.opening import read_back
from edge.system.progress import Progress, silent
from edge.typing import F32

ONE_DECODER = "an adapter is of one decoder of text alone"
_ROWS = 512  # of a weight, that are floats at a time


def with_adapter(
    artifact: Artifact, folder: Path | str | None, progress: Progress = silent
) -> Artifact:
    """The artifact with what PEFT or mlx-lm wrote into a folder; refuses a target that cannot, and an adapter of
    another model before any weight is read.
    """
    if folder is None:
        return artifact
    manifest, folder = artifact.manifest, Path(folder)
    _refuse(artifact, "LoRA")  # whatever it is
    adapter = adapters.read(folder)
    _refuse(artifact, adapter.kind)
    spec = manifest.decoder  # refuses a network of another kind
    # A GGUF file of others says an architecture, which is called as a family with its names of modules.
    family = next(family for family in families() if family.name == manifest.family)
    deltas = adapter.deltas(family.names.places(spec))
    key = "".join(hashes(folder).values())
    return replace(artifact, branches=_branches(artifact, key, deltas, progress))


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of an adapter's files, by name."""
    return {file.name: sha256(file) for file in adapters.files(folder)}


def _refuse(artifact: Artifact, kind: str) -> None:
    target = artifact.manifest.target
    if artifact.manifest.adapter is not None:
        raise EdgeError(
            f"an adapter was merged into the weights of {artifact.folder}, and one alone is of its base",
            fix="leave out --adapter, or name an artifact of the base",
        )
    if kind not in vars(targets.runtime(target)).get("ADAPTERS", ()):
        raise Unsupported(
            f"{target} runs no {kind} adapter beside an artifact's weights",
            fix=f"merge it into them: edge convert MODEL --adapter FOLDER --to {target}",
        )


def _branches(
    artifact: Artifact, key: str, deltas: dict[str, Delta], progress: Progress
) -> Branches:
    recipe, spec = recipe_of(artifact.manifest), artifact.manifest.decoder
    balance = vectors.read(artifact.folder / vectors.BALANCE) if recipe.balanced else {}
    by = factors(spec, balance)
    measured = sum(4 * prod(d.shape) for d in deltas.values() if d.magnitude is not None)
    if not measured:
        return beside(key, deltas, _unasked, by)
    with closing(read_back(artifact, recipe)) as stored, progress("row lengths", measured) as more:

        def blocks(name: str) -> Iterator[F32]:
            height = deltas[name].shape[0]
            for start in range(0, height, _ROWS):
                block = stored.rows(name, start, min(start + _ROWS, height), by_row=False)
                yield block
                more(block.nbytes)

        return beside(key, deltas, blocks, by)


def _unasked(name: str) -> Iterator[F32]:
    raise AssertionError(f"nothing asks how long the rows of {name} are")
