"""Core ML on macOS; on any system a reference evaluation of its packages in numpy."""

import platform
import sys
from collections.abc import Sequence

from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import NetOpening, Numerics, Opening
from edge.errors import Unsupported
from edge.quant.recipe import Recipe
from edge_runtimes.coreml.decoder import CoreMlDecoder
from edge_runtimes.coreml.device import device_test
from edge_runtimes.coreml.exits import ExitCoreMlDecoder
from edge_runtimes.coreml.flexible import FlexibleCoreMlDecoder, Keeper
from edge_runtimes.coreml.memory import BASE, memory
from edge_runtimes.coreml.network import CoreMlNet, net_memory
from edge_runtimes.coreml.network import evaluated as evaluated_net
from edge_runtimes.coreml.reference import evaluated, open_reference
from edge_runtimes.coreml.spliced import SplicedCoreMlDecoder
from edge_runtimes.coreml.stored import CoreMlRows

__all__ = [
    "BASE",
    "FEW_SIZES",
    "check",
    "device_test",
    "memory",
    "net_memory",
    "numerics",
    "open",
    "open_evictable",
    "open_exits",
    "open_net",
    "open_reference",
    "open_spliced",
    "read_back",
]
read_back = CoreMlRows
FEW_SIZES = True  # each size that a network is called at is compiled once more on a device
_MACOS = 15  # the first that has states


def open(opening: Opening) -> CoreMlDecoder:  # noqa: A001 - `edge.contracts.Runtime`'s name
    return CoreMlDecoder(opening.spec, _callers(opening), opening.part)


def open_evictable(opening: Opening) -> FlexibleCoreMlDecoder:
    return FlexibleCoreMlDecoder(opening.spec, _callers(opening), opening.part)


def open_exits(opening: Opening, *, exit_: int) -> ExitCoreMlDecoder:
    return ExitCoreMlDecoder(opening.spec, _callers(opening), opening.part, exit_=exit_)


def open_net(opening: NetOpening) -> CoreMlNet:
    if opening.reference:
        return evaluated_net(opening)
    check()
    from edge_runtimes.coreml.native import predicted_net

    return predicted_net(opening)


def open_spliced(opening: Opening) -> SplicedCoreMlDecoder:
    recipe = recipe_of(Artifact.open(opening.folder).manifest)
    table = CoreMlRows(opening.folder, opening.spec, recipe)
    return SplicedCoreMlDecoder(opening.spec, _callers(opening), table, opening.part)


def _callers(opening: Opening) -> Sequence[Keeper]:
    if opening.reference:
        return evaluated(opening)
    check()
    if opening.threads is not None:
        raise Unsupported("Core ML chooses its threads itself", fix="leave out --threads")
    from edge_runtimes.coreml.native import predicted

    return predicted(opening)


def check() -> None:
    """Refuse a system without Core ML, or without its states."""
    if not _native():
        raise Unsupported(
            f"Core ML runs on macOS {_MACOS} and later, and this is {platform.system()}",
            fix="give --reference for a slow evaluation in numpy, or convert --to another target",
        )


def numerics(recipe: Recipe, *, exact: bool) -> Numerics:
    """Core ML rounds as the program declares; the reference evaluation does so, or not at all."""
    half = recipe.body.number == "fp16"
    if exact and not _native():
        plain = recipe.body.is_float and not half
        return Numerics(tolerance=1e-4 if plain else 1e-3, vectors=recipe.body.number)
    # One rounding of a cached key to the other neighbour is 5e-4 of it: so much for fp32.
    return Numerics(tolerance=1e-2 if half else 1e-3, vectors=recipe.body.number, cache="fp16")


def _native() -> bool:
    version = platform.mac_ver()[0].split(".")[0]
    return sys.platform == "darwin" and version.isdigit() and int(version) >= _MACOS
