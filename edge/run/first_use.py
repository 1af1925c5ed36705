"""An artifact to run, by whatever a model is named: made on first use where there is none yet."""

import hashlib
from dataclasses import replace
from pathlib import Path

from edge import targets
from edge.artifact.manifest import Artifact, is_artifact
from edge.artifact.pipeline import is_pipeline
from edge.convert.conversion import convert
from edge.convert.options import Options, usual
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError, Unsupported
from edge.families import pipeline_of
from edge.gguf.foreign import TARGET as FILES
from edge.source.headers import config_of
from edge.source.naming import Named
from edge.system.home import artifacts
from edge.system.progress import Progress


def artifact_of(
    model: Named,
    progress: Progress | None = None,
    runtime: str | None = None,
    asked: Options | None = None,
) -> Path:
    """The folder of an artifact, or a GGUF file; `runtime`: of this target. `asked`: what a conversion is to
    be made with; an artifact that is there has it, or not.
    """
    if asked not in (None, Options()) and model.kind in ("artifact", "file"):
        raise EdgeError(
            f"{model.name} is converted already", fix="give the options of pictures to edge convert"
        )
    if model.path is not None and model.kind in ("artifact", "file"):
        return _there(model, model.path, runtime)
    source = model.checkpoint()
    options = _options(model, runtime, asked)
    config = config_of(source)
    several = pipeline_of(config)
    if several is not None and not several.together:
        raise Unsupported(
            f"{model.name} is {several.name}, whose networks nothing runs together yet",
            fix=f"edge convert {model.name} --to {options.target}; each of its networks works by itself",
        )
    options = usual(options, config) if several is None else options
    words = [source.name, _fingerprint(source, options), options.target, options.quant]
    folder = artifacts() / "-".join(word for word in words if word)
    if not is_artifact(folder):
        if several is not None:
            convert_pipeline(source, folder, options, None, progress)
        else:
            convert(source, folder, options, progress)
    return folder


def _there(model: Named, path: Path, runtime: str | None) -> Path:
    """What is converted already, if it is of the target that was asked for."""
    if model.kind == "file":
        made_for, what = FILES, "a file"
    elif is_pipeline(path):
        made_for, what = "several targets", "an artifact of several networks"
    else:
        made_for = Artifact.open(path).manifest.target
        what = f"an artifact of {made_for}"
    if runtime not in (None, made_for):
        fix = (
            f"give --runtime {FILES}"
            if model.kind == "file"
            else (f"leave out --runtime, or name the checkpoint with --runtime {runtime}")
        )
        raise EdgeError(f"{model.name} is {what}, which {runtime} cannot run", fix=fix)
    return path


def _options(model: Named, runtime: str | None, asked: Options | None) -> Options:
    """What the registry says of this model; this machine's best where it says nothing."""
    entry = model.entry
    wished = (runtime, None if entry is None else entry.target)
    target = next((name for name in wished if name is not None), None) or targets.best()
    options = replace(asked or Options(), target=target, exits=model.exits)
    return options if entry is None else replace(options, quant=entry.quant)


def _fingerprint(source: Path, options: Options) -> str:
    """Changes when a file of the checkpoint does, or one that an option names; reads no weights."""
    digest = hashlib.sha256(str(source.resolve()).encode())
    asked = [options.labels, options.wordnet, options.classes]
    given = [path for path in asked if path is not None]
    for path in given:
        digest.update(f"{path.resolve()}\n".encode())
    if options.image_size is not None:
        digest.update(f"image {options.image_size}\n".encode())
    for file in [*sorted(source.iterdir()), *given]:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]
