"""What an artifact's manifest says of where it comes from, before the hashes of its files are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from edge import targets
from edge.artifact.manifest import Manifest
from edge.convert.mixtures import tools
from edge.names import Spec
from edge.quant.recipe import Recipe, word
from edge.source.checkpoint import Checkpoint
from edge.source.pull import pin_of
from edge.text.ids import SpecialIds
from edge.vision.settings import VisionSettings


class Source(Protocol):
    """What is converted. `files`: of the source beside its weights."""

    @property
    def checkpoint(self) -> Checkpoint: ...

    @property
    def files(self) -> Sequence[Path]: ...

    @property
    def vision(self) -> VisionSettings | None: ...

    @property
    def changes(self) -> Mapping[str, Any] | None: ...


def inputs(source: Source) -> list[Path]:
    """Every file that it is made of."""
    return [*source.checkpoint.files, *source.files, *source.checkpoint.adapter]


def hashed(manifest: Manifest, source: Source, hashes: Mapping[Path, str]) -> Manifest:
    """With the hashes of these files."""
    own = {path.name: hashes[path] for path in (*source.checkpoint.files, *source.files)}
    adapter = {path.name: hashes[path] for path in source.checkpoint.adapter} or None
    return replace(manifest, source=own, adapter=adapter)


def told(
    source: Source,
    recipe: Recipe,
    *,
    target: str,
    spec: Spec,
    ids: SpecialIds,
    stage: str | None = None,
) -> Manifest:
    """`spec`: as the target has it; `ids`: of the tokenizer beside it; `stage`: of several networks, which."""
    checkpoint = source.checkpoint
    pin = pin_of(checkpoint.folder)
    return Manifest(
        target=target,
        family=checkpoint.family.name,
        name=checkpoint.folder.resolve().name,
        recipe=recipe.name,
        embed=word(recipe.embed),
        head=word(recipe.head),
        overrides={pattern: word(scheme) for pattern, scheme in recipe.overrides},
        spec=spec,
        bos=ids.bos,
        stop=tuple(sorted(ids.stop)),
        repository=None if pin is None else pin.source,
        revision=None if pin is None else pin.revision,
        source={},
        files={},
        tools=versions(tools(targets.converter(target), recipe)),
        vision=source.vision,
        changes=source.changes,
        stage=stage,
    )


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Of edge, and of what an artifact's bytes depend on beside it."""
    out = {}
    for package in ("edge-toolkit", "numpy", *packages):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"  # run from a source tree that is not installed
    return out
