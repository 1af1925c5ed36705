"""Models ready to run: of an artifact, a checkpoint or an id."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.convert.options import Options, refuse_given
from edge.convert.pipelines import is_of_several
from edge.errors import EdgeError
from edge.families import pipeline_of
from edge.gguf.foreign import artifact_at, folder_only
from edge.names import decoder_of
from edge.pipelines.groma import Groma
from edge.pipelines.internvl import InternVL
from edge.pipelines.options.speech import SpeechOptions
from edge.pipelines.runners import open_pipeline
from edge.pipelines.speech import Speech
from edge.run.beside import ONE_DECODER, hashes, with_adapter
from edge.run.classifier import Classifier, load_classifier
from edge.run.first_use import artifact_of
from edge.run.model import Model, load, prompt_ids
from edge.run.strategy import PLAIN, Strategy
from edge.source import registry
from edge.source.checkpoint import Checkpoint
from edge.source.headers import config_of
from edge.source.naming import resolve
from edge.system.progress import Progress
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer


def open_model(
    model: str | None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
    turns: bool = True,
    adapter: Path | None = None,
) -> Model | InternVL | Groma | Speech:
    """A model ready to run: an artifact as it is; a checkpoint or an id is converted on first use."""
    if adapter is not None:
        _refuse_foreign(model, adapter)
    folder = ready(model, progress, runtime)
    how: Any = {"threads": threads, "unchecked": unchecked, "strategy": strategy}
    if is_pipeline(folder):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
        return cast("InternVL | Groma | Speech", open_pipeline(folder, **how))
    return load(folder, turns=turns, adapter=adapter, progress=progress, **how)


def _refuse_foreign(model: str | None, adapter: Path) -> None:
    """An adapter of another model, before a checkpoint is converted for it."""
    named = resolve(registry.DEFAULT if model is None else model)
    if named.kind in ("artifact", "file"):
        return
    source = named.checkpoint()
    if is_of_several(source):
        refuse_given(ONE_DECODER, {"--adapter": adapter})
    Checkpoint.open(source, adapter=adapter).close()


def ready(model: str | None, progress: Progress | None = None, runtime: str | None = None) -> Path:
    """The folder of an artifact, made now if need be; `runtime`: of this target."""
    named = resolve(registry.DEFAULT if model is None else model)
    return artifact_of(named, progress, runtime)


def fastest_strategy(
    folder: Path,
    prompt: str,
    *,
    system: str | None,
    raw: bool,
    threads: int | None,
    say: Callable[[str], None],
    adapter: Path | None = None,
) -> Strategy:
    """What this prompt is decoded by fastest here, with the same answer."""
    from edge.measure.tune import fastest

    folder_only(folder, "tuned")
    if is_pipeline(folder):
        raise EdgeError("--fast is not of a model that sees", fix="leave it out")
    artifact = Artifact.open(folder)
    decoder_of(artifact.manifest.spec, artifact.manifest.name)  # refuses what decodes no text
    integrity.check(artifact)
    artifact = with_adapter(artifact, adapter)
    tokenizer, template = Tokenizer.load(folder), ChatTemplate.load(folder)
    ids = prompt_ids(tokenizer, template, prompt, system=system, raw=raw)
    return fastest(artifact, ids, threads=threads, say=say)


def told_of(adapter: Path | None) -> dict[str, Any]:
    """What a result says of the adapter that it was made with: nothing of none."""
    if adapter is None:
        return {}
    return {"adapter": {"folder": str(adapter), "files": hashes(adapter)}}


def open_seeing(
    model: str,
    options: Options,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
) -> Classifier | InternVL:
    """A network whose rows have names, or several that answer about pictures; `options`: of the conversion
    that a checkpoint is run by.
    """
    folder = artifact_of(resolve(model), progress, runtime, options)
    how: Any = {"threads": threads, "unchecked": unchecked}
    if is_pipeline(folder):
        found = open_pipeline(folder, strategy=strategy, **how)
        if not isinstance(found, InternVL):
            raise EdgeError(f"{model} sees no pictures", fix="leave out --image")
        return found
    strategy.refuse_decoding("a classifier decodes no tokens")
    return load_classifier(artifact_at(folder), reference=strategy.reference, **how)


def pipeline_of_model(model: str | None) -> str | None:
    """Which pipeline a model is of, by its own files, before anything is converted or opened: a name of
    `edge.families.pipelines`; None of one network.
    """
    named = resolve(registry.DEFAULT if model is None else model)
    if named.kind == "file":
        return None
    if named.kind == "artifact":
        assert named.path is not None
        several = is_pipeline(named.path)
        return PipelineArtifact.open(named.path).manifest.family if several else None
    found = pipeline_of(config_of(named.checkpoint()))
    return None if found is None else found.name


def open_speaking(
    model: str,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    unchecked: bool = False,
    strategy: Strategy = PLAIN,
    progress: Progress | None = None,
) -> Speech:
    """A voice, by whatever a model is named: one that decodes texts is refused."""
    strategy.refuse_decoding("a voice decodes no tokens")
    if pipeline_of_model(model) != SpeechOptions.PIPELINE:
        raise EdgeError(f"{model} does not speak", fix="name a model of the type edge_speech")
    found = open_model(
        model,
        runtime=runtime,
        threads=threads,
        unchecked=unchecked,
        strategy=strategy,
        progress=progress,
    )
    assert isinstance(found, Speech)
    return found
