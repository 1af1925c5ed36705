"""What runs the networks of an artifact together: one table, by the names of `edge.families.pipelines`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.artifact import integrity
from edge.artifact.pipeline import PipelineArtifact
from edge.errors import Unsupported
from edge.pipelines import groma, internvl, speech
from edge.run.strategy import PLAIN, Strategy

# (artifact, threads, exact, strategy) -> what is loaded
Runner = Callable[..., Any]
RUNNERS: Mapping[str, Runner] = {
    groma.FAMILY: groma.Groma,
    internvl.FAMILY: internvl.InternVL,
    speech.FAMILY: speech.open_speech,
}


def open_pipeline(
    folder: Path,
    *,
    threads: int | None = None,
    exact: bool = False,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
) -> Any:
    """Open an artifact of several networks, whatever they do together; refuse it if a file is not what a manifest
    says.
    """
    artifact = PipelineArtifact.open(folder)
    runner = RUNNERS.get(artifact.manifest.family)
    if runner is None:
        raise Unsupported(
            f"{artifact.folder} is {artifact.manifest.family}, whose networks nothing runs together yet",
            fix=f"run them one by one: edge bench {artifact.folder / next(iter(artifact.stages))}",
        )
    if not unchecked:
        integrity.check(artifact)
    return runner(artifact, threads=threads, exact=exact, strategy=strategy)
