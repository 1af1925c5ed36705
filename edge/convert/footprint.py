"""Bytes that an artifact will take on the disk, all of its files: one is written without weights, whose places the
disk need not keep, and measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from edge.artifact import vectors
from edge.artifact.manifest import files_of, write_manifest
from edge.contracts import About, Layout
from edge.convert.calibration import Calibration, calibration_of
from edge.convert.telling import Source, hashed, inputs, told
from edge.names import Spec, shapes
from edge.quant.balance import joints
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec
from edge.text.ids import SpecialIds
from edge.typing import F32

_HASH = "0" * 64  # as long as any


class Copied(Source, Protocol):
    def copy(self, folder: Path) -> SpecialIds:
        """Put beside the weights what belongs there."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Of conversions of one source to one target. `asked`: the text that a user gave to round by, and `on` which
    device; `read`: the pieces of a text as they are read; `stage`: of several networks, which.
    """

    source: Copied
    target: str
    layout: Callable[[Recipe], Layout[Spec]]
    asked: Calibration | None
    read: Callable[[Calibration], Sequence[Sequence[int]]]
    on: str | None = None
    stage: str | None = None

    def nbytes(self, recipe: Recipe) -> int:
        """By this recipe: what it will be, or a little more where a method balances joints and may leave some."""
        checkpoint, layout = self.source.checkpoint, self.layout(recipe)
        text = calibration_of(self.asked, recipe, self.on)
        with TemporaryDirectory(prefix="edge-") as place:
            folder = Path(place)
            ids = self.source.copy(folder)
            for name, table in _vectors(checkpoint.decoder, recipe, text):
                vectors.write(folder / name, table)
            about = About(checkpoint.family, checkpoint.folder.resolve().name, ids)
            with closing(layout.open(folder, about)) as writer:
                writer.finish()
            names = [path.relative_to(folder).as_posix() for path in files_of(folder)]
            manifest = told(
                self.source,
                recipe,
                target=self.target,
                spec=layout.spec,
                ids=ids,
                stage=self.stage,
            )
            files = dict.fromkeys(names, _HASH)
            manifest = hashed(manifest, self.source, dict.fromkeys(inputs(self.source), _HASH))
            calibration = None if text is None else text.json(self.read(text))
            every = replace(manifest, files=files, calibration=calibration)
            write_manifest(folder, every)
            return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _vectors(
    spec: DecoderSpec, recipe: Recipe, text: Calibration | None
) -> Iterator[tuple[str, Mapping[str, F32]]]:
    """Files of them, of as many numbers."""
    if text is not None and recipe.mixture is not None:
        every = shapes(spec).items()
        inner = {n: s[1] for n, s in every if n.startswith("layers.") and len(s) == 2}
        yield vectors.IMPORTANCE, _zeros(inner)
    if recipe.balanced:
        some = [joint for index in range(len(spec.layers)) for joint in joints(spec, index)]
        widths = {joint.before: joint.width for joint in some if recipe.balance(joint.after[0])}
        yield vectors.BALANCE, _zeros(widths)


def _zeros(widths: Mapping[str, int]) -> Mapping[str, F32]:
    return {name: np.zeros(width, np.float32) for name, width in widths.items()}
