"""Artifacts held against what they were made from, and what a path holds."""

from pathlib import Path
from typing import Any, Protocol

from edge.artifact import integrity, network
from edge.artifact.manifest import Artifact, for_later, recipe_of
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.convert.calibration import Calibration
from edge.convert.options import refuse_given
from edge.errors import EdgeError
from edge.gguf.foreign import folder_only
from edge.measure.inspection import inspect
from edge.net import NetSpec
from edge.prove import networks, pipelines
from edge.prove.verify import TOKENS, verify
from edge.run.beside import ONE_DECODER, with_adapter
from edge.source import registry
from edge.source.naming import resolve
from edge.system.progress import Progress, silent
from edge.typing import Say


class Verdict(Protocol):
    """What any verification says."""

    @property
    def passed(self) -> bool: ...

    def json(self) -> dict[str, object]: ...


_NO_REMAKE = "leave out --remake"


def verify_artifact(
    folder: Path,
    against: str | None,
    *,
    tokens: int | None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
    remake: bool = False,
    calibrate: Path | None = None,
    adapter: Path | None = None,
) -> Verdict:
    """Verify, and keep the result in the artifact's manifest. `remake`: round again by the text that it was rounded
    by, which is edge's own if `calibrate` is left out. `adapter`: what was merged into its weights; or, where nothing
    was, one that is opened with it, whose logits are proved: of that nothing is kept.
    """
    folder_only(folder, "proved")
    if network.is_network(folder):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        return _verify_module(folder, against, tokens, say)
    artifact = PipelineArtifact.open(folder) if is_pipeline(folder) else Artifact.open(folder)
    source = _origin(folder, artifact.manifest.name, against)
    report: Verdict
    plain = isinstance(artifact, PipelineArtifact) or isinstance(artifact.manifest.spec, NetSpec)
    if plain:
        if remake:
            raise EdgeError(f"{folder} holds no decoder alone, that a text rounded", fix=_NO_REMAKE)
        refuse_given(ONE_DECODER, {"--adapter": adapter})
    if isinstance(artifact, PipelineArtifact):
        report = pipelines.verify(artifact, source, tokens=tokens, progress=progress or silent)
    elif isinstance(artifact.manifest.spec, NetSpec):
        _no_tokens(folder, tokens)
        report = networks.verify(artifact, source, progress=progress)
    else:
        merged = _merged(artifact, adapter)
        if merged is None:
            artifact = with_adapter(artifact, adapter, progress or silent)
        text = _text_again(artifact, calibrate) if remake else None
        count = tokens or TOKENS
        report = verify(
            artifact, source, tokens=count, progress=progress, text=text, adapter=merged
        )
        if artifact.branches is not None:
            return report
    with for_later(say):
        artifact.record(report.json())
    return report


def _text_again(artifact: Artifact, calibrate: Path | None) -> Calibration:
    told = artifact.manifest.calibration
    if told is None or not recipe_of(artifact.manifest).by_inputs:
        raise EdgeError(
            f"{artifact.folder} was not rounded by a text: its bytes are made again as it is",
            fix=_NO_REMAKE,
        )
    return Calibration.again(told, calibrate, artifact.folder)


def _merged(artifact: Artifact, adapter: Path | None) -> Path | None:
    """The adapter, if one was merged into an artifact's weights: it is proved with that, and not without."""
    known = artifact.manifest.adapter
    if adapter is None and known is not None:
        raise EdgeError(
            f"an adapter was merged into the weights of {artifact.folder}",
            fix=f"give --adapter its folder, with {' and '.join(known)}",
        )
    return None if known is None else adapter


def _same_adapter(folder: Path, adapter: Path | None) -> None:
    """Refuse an adapter that an artifact was not made with, and the lack of the one that it was."""
    plain = network.is_network(folder) or is_pipeline(folder)
    merged = None if plain else _merged(Artifact.open(folder), adapter)
    if merged is None:
        refuse_given(f"{folder} was made without one", {"--adapter": adapter})


def verify_files(
    folder: Path,
    against: str | None,
    progress: Progress | None = None,
    adapter: Path | None = None,
) -> integrity.Files:
    """Compare only hashes: the artifact's files and, with `against`, the inputs it was made from."""
    folder_only(folder, "compared with hashes")
    if against is not None or adapter is not None:
        _same_adapter(folder, adapter)
    source = None if against is None else resolve(against).checkpoint()
    if is_pipeline(folder):
        whole, tell = PipelineArtifact.open(folder), progress or silent
        parts = {
            name: integrity.compare(stage.folder, stage.manifest, source, tell)
            for name, stage in whole.stages.items()
        }
        if whole.manifest.files:
            parts[""] = integrity.of_all(whole, source, tell)
        return integrity.together(parts)
    manifest = (
        network.read(folder) if network.is_network(folder) else Artifact.open(folder).manifest
    )
    return integrity.compare(folder, manifest, source, progress or silent, adapter)


def inspect_path(path: Path) -> dict[str, Any]:
    return inspect(path)


def _verify_module(folder: Path, against: str | None, tokens: int | None, say: Say) -> Verdict:
    from edge.via import optimum

    _no_tokens(folder, tokens)
    source = _origin(folder, network.read(folder).name, against)
    return optimum.verify(folder, source, say=say)


def _no_tokens(folder: Path, tokens: int | None) -> None:
    if tokens is not None:
        raise EdgeError(
            f"{folder} is no decoder: it has no greedy tokens", fix="leave out --tokens"
        )


def _origin(folder: Path, name: str, against: str | None) -> Path:
    """The checkpoint that an artifact was made from."""
    if against is None and registry.find(name) is None:
        raise EdgeError(
            f"{folder} was made from {name!r}, which is not in the registry",
            fix="give --against the checkpoint's folder",
        )
    return resolve(against or name).checkpoint()
