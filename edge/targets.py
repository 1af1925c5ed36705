"""Targets by name: `converters.NAME` makes an artifact, `runtimes.NAME` runs it. Found lazily,
never imported by name.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from edge.artifact import Artifact
from edge.checkpoint import Checkpoint
from edge.decode.switching import switching
from edge.errors import EdgeError, Unsupported
from edge.protocols import Decoder
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge.text.ids import SpecialIds

Progress = Callable[[int], None]  # bytes that are done since the last call


class Converter(Protocol):
    """What a package in `converters` offers."""

    TOOLS: tuple[str, ...]  # packages whose versions the manifest records

    def nbytes(self, spec: DecoderSpec, recipe: Recipe) -> int:
        """Size of the weights that `convert` will write; refuses what the target cannot hold."""
        ...

    def memory(self, spec: DecoderSpec) -> int:
        """Peak resident bytes of a conversion."""
        ...

    def convert(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        folder: Path,
        *,
        ids: SpecialIds,
        progress: Progress,
    ) -> None:
        """Write the target's own files into an empty folder."""
        ...

    def differing(
        self, checkpoint: Checkpoint, recipe: Recipe, folder: Path, progress: Progress
    ) -> int:
        """How many stored bytes are not what the checkpoint makes them."""
        ...


class Runtime(Protocol):
    """What a package in `runtimes` offers."""

    def open(
        self,
        folder: Path,
        spec: DecoderSpec,
        *,
        threads: int | None,
        exact: bool,
        part: str = "",
    ) -> Decoder:
        """A decoder over an artifact's folder, of one of its parts (`edge.spec.parts`).

        `exact`: with float activations, for proof.
        """
        ...

    def memory(self, spec: DecoderSpec, recipe: Recipe, *, tokens: int) -> int:
        """Peak resident bytes of a run whose sequence reaches this many tokens."""
        ...


class Oracle(Protocol):
    """What `runtimes.reference` offers: any checkpoint, through any recipe, in numpy."""

    def oracle(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        *,
        int8_activations: bool,
        spec: DecoderSpec | None = None,
    ) -> Decoder:
        """`spec`: one of the parts of the checkpoint's, if not the whole."""
        ...


class Trainer(Protocol):
    """What `runtimes.torch.train` offers."""

    def train(self, recipe: Path | str, out: Path, *, resume: bool) -> Path:
        """Run a recipe; the folder of the checkpoint that it made."""
        ...


def converter(target: str) -> Converter:
    return cast(Converter, _find("converters", target))


def runtime(target: str) -> Runtime:
    module = _find("runtimes", target)
    if "open" not in vars(module):
        raise EdgeError(f"the target {target!r} runs no artifacts", fix="use the target onnx")
    return cast(Runtime, module)


def open_decoder(artifact: Artifact, *, threads: int | None, exact: bool) -> Decoder:
    """A decoder of an artifact, whatever parts it has."""
    folder, spec = artifact.folder, artifact.manifest.spec
    module = runtime(artifact.manifest.target)

    def open_part(label: str, part: DecoderSpec) -> Decoder:
        return module.open(folder, part, threads=threads, exact=exact, part=label)

    return switching(spec, open_part)


def oracle() -> Oracle:
    return cast(Oracle, _find("runtimes", "reference"))


def trainer() -> Trainer:
    return cast(Trainer, _import("runtimes.torch.train", "torch"))


def names(kind: str) -> tuple[str, ...]:
    """Targets of a kind (`converters` or `runtimes`), by the folders that are there."""
    spec = importlib.util.find_spec(kind)
    folders = spec.submodule_search_locations if spec else None
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folders) if m.ispkg))


def _find(kind: str, target: str) -> ModuleType:
    known = names(kind)
    if target not in known:
        raise EdgeError(f"there is no target {target!r}", fix=f"use one of: {', '.join(known)}")
    return _import(f"{kind}.{target}", target)


def _import(module: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("edge", "converters", "runtimes"):
            raise
        raise Unsupported(
            f"{target} needs the package {error.name}, which is not installed",
            fix=f"pip install {error.name}, or pip install 'edge-toolkit[{target}]'",
        ) from None
