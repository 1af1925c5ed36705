"""Artifacts from checkpoints, and folders of apps from artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge import targets
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact
from edge.convert.conversion import convert_all, open_subject, prepare
from edge.convert.options import Options, refuse_given, usual
from edge.convert.pipelines import convert_pipeline, is_of_several, parts_of
from edge.errors import EdgeError, Unsupported
from edge.measure.inspection import inspect
from edge.run.beside import ONE_DECODER
from edge.source.headers import config_of
from edge.source.naming import Named, resolve
from edge.system.progress import Progress
from edge.system.team import several
from edge.typing import Say


def convert_model(
    model: str,
    to: str | None,
    out: Path | None,
    options: Options,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Sequence[Artifact | PipelineArtifact]:
    """Convert a registry id or a checkpoint folder to one target or several (`onnx,mlx`). Of a model
    that was trained with exits, those are kept if no others are asked for. One of several networks may have
    each for a target of its own (`vision=onnx:int8,text=gguf:q4_0`).
    """
    named = resolve(model)
    if is_of_several(named.checkpoint()):
        refuse_given(ONE_DECODER, {"--adapter": options.adapter})
        return _convert_several(named.checkpoint(), to, out, options, progress, say)
    source, options = _asked(options, named)
    return convert_all(source, _outs(source, to, out, options), options, progress, say)


def plan_conversion(
    model: str, to: str | None, out: Path | None, options: Options
) -> list[dict[str, Any]]:
    """What `convert_model` would write: nothing is."""
    named = resolve(model)
    source, options = _asked(options, named)
    subject = open_subject(source, options)
    with subject.checkpoint:
        _, tasks = prepare(subject, _outs(source, to, out, options), options)
        return [task.json() for task in tasks]


def _asked(options: Options, model: Named) -> tuple[Path, Options]:
    """The checkpoint of a model, and its options with what is usual of such a model."""
    source = model.checkpoint()
    return source, usual(with_exits(options, model), config_of(source))


def _convert_several(
    source: Path,
    to: str | None,
    out: Path | None,
    options: Options,
    progress: Progress | None,
    say: Say,
) -> list[PipelineArtifact]:
    """One artifact for each target of all networks; or one whose networks are placed."""
    if several():
        raise Unsupported(
            "torchrun's processes share the text of one decoder, and this is a model of several networks",
            fix="leave torchrun out",
        )
    words = target_names(to) if to is not None else [targets.best()]
    parts = parts_of(words)
    if parts is None:
        outs = _outs(source, to, out, options)
        return [
            convert_pipeline(source, outs[t], replace(options, target=t), None, progress, say)
            for t in words
        ]
    used = list(dict.fromkeys(target for target, _ in parts.values()))
    folder = out or Path("artifacts") / f"{source.name}-{'-'.join(used)}"
    options = replace(options, target=used[0])
    return [convert_pipeline(source, folder, options, parts, progress, say)]


def with_exits(options: Options, model: Named) -> Options:
    """Those that it was trained with, if none are asked for."""
    return options if options.exits else replace(options, exits=model.exits)


def _outs(source: Path, to: str | None, out: Path | None, options: Options) -> dict[str, Path]:
    """Targets and the folders of their artifacts."""
    names = [targets.best()] if to is None else target_names(to)
    if out is not None:
        return {name: out if len(names) == 1 else out / name for name in names}
    of = source.name if options.adapter is None else f"{source.name}-{options.adapter.name}"
    words = {name: [of, name, options.quant] for name in names}
    return {
        n: Path("artifacts") / "-".join(part for part in parts if part)
        for n, parts in words.items()
    }


def target_names(to: str) -> list[str]:
    """Targets, by commas."""
    names = [name.strip() for name in to.split(",")]
    if len(set(names)) < len(names):
        raise EdgeError(f"--to {to} names a target twice", fix="name each once")
    return names


def convert_via(
    via: str,
    model: str,
    to: str | None,
    out: Path | None,
    *,
    refused: Mapping[str, object],
    force: bool,
    say: Say,
) -> dict[str, Any]:
    """Export an architecture without a family here by others' software; `refused`: what was asked
    for that it cannot honour, empty where nothing was.
    """
    from edge.via import optimum

    optimum.check(via, to, [name for name, value in refused.items() if value])
    source = resolve(model).checkpoint()
    out = out or Path("artifacts") / f"{source.name}-onnx-{via}"
    optimum.convert(source, out, force=force, say=say)
    return {"path": str(out)} | inspect(out)


def app_of(folder: Path, out: Path, *, force: bool, test: bool = True) -> dict[str, Any]:
    """The folder of an app, from an artifact's: what `app.json` holds. `test`: with what a device must compute."""
    from edge.apps.folder import write_app

    return write_app(folder, out, force=force, test=test)
