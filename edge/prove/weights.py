"""What an artifact stores, against what its checkpoint makes of it: bytes, and how far their meaning is."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from edge import targets
from edge.artifact import vectors
from edge.artifact.manifest import Artifact
from edge.contracts import About
from edge.convert.calibrated import Alike, Reading, by_inputs
from edge.convert.calibration import Calibration
from edge.convert.one_pass import Job, one_pass
from edge.nn.tracing import multiplied
from edge.prove.distance import Distance, Distances
from edge.quant.recipe import Recipe
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.system.progress import Progress
from edge.text.ids import SpecialIds


def as_balanced(artifact: Artifact, checkpoint: Checkpoint, recipe: Recipe) -> Checkpoint:
    """The weights that an artifact rounds: by what it keeps, if its recipe balances them."""
    if not recipe.balanced:
        return checkpoint
    return checkpoint.balanced(vectors.read(artifact.folder / vectors.BALANCE))


def compared(
    artifact: Artifact,
    checkpoint: Checkpoint,
    recipe: Recipe,
    progress: Progress,
    text: Calibration | None = None,
) -> tuple[int, tuple[Distance, ...]]:
    """Stored bytes that are not what the checkpoint makes them, and how far what they mean is from it. `text`: to
    make again what it made; without it, that is only asked how far it is.
    """
    manifest = artifact.manifest
    layout = targets.layout(manifest.target, manifest.spec, recipe)
    about = About(
        checkpoint.family, manifest.name, SpecialIds(manifest.bos, frozenset(manifest.stop))
    )
    with (
        progress("stored weights", layout.nbytes) as advance,
        closing(layout.open(artifact.folder, about, "compare")) as writer,
        closing(Distances(opening.read_back(artifact, recipe), manifest.spec, recipe)) as distances,
    ):
        unknown = frozenset(filter(recipe.calibrated, multiplied(manifest.spec)))
        if text is not None and unknown:
            windows = text.windows(artifact.folder, checkpoint.decoder.context)
            with TemporaryDirectory(prefix="edge-") as place:
                reading = Reading(windows, Path(place), "verify", progress, text.by)
                by_inputs(checkpoint, Alike([recipe], [Job(writer)]), reading)
        one_pass(checkpoint, [Job(writer, skip=unknown), Job(distances)], advance)
        return writer.differing, distances.every()
