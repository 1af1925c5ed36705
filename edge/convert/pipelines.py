"""A checkpoint of several networks -> one artifact with a folder for each: its own target, recipe, hashes and
proof.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge.artifact.manifest import MANIFEST, write_manifest
from edge.artifact.pipeline import PipelineArtifact, PipelineManifest
from edge.artifact.publishing import publishing
from edge.convert.conversion import Say, convert, unsaid
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.families import Pipeline, pipeline_of
from edge.files.hashing import sha256
from edge.source.headers import config_of
from edge.system.progress import Progress
from edge.text.conversations import system_message


def is_of_several(source: Path) -> bool:
    """Whether a checkpoint is several networks."""
    return pipeline_of(config_of(source)) is not None


def placed(
    pipeline: Pipeline, options: Options, parts: Mapping[str, tuple[str, str | None]]
) -> dict[str, Options]:
    """How each network is converted. `parts`: the target, and the recipe if it has one of its own, of those
    that are named; the others are for the target and the recipe of all.
    """
    known = [stage.name for stage in pipeline.stages]
    unknown = sorted(parts.keys() - set(known))
    if unknown:
        raise EdgeError(
            f"{pipeline.name} has no network {unknown[0]!r}", fix=f"name {', '.join(known)}"
        )
    out = {}
    for name in known:
        target, quant = parts.get(name, (options.target, None))
        text = name == "text"
        out[name] = replace(
            options,
            target=target,
            quant=quant or options.quant,
            stage=name,
            spliced=text,
            overrides={
                pattern.removeprefix(f"{name}."): scheme
                for pattern, scheme in options.overrides.items()
                if pattern.startswith(f"{name}.")
            },
            tokenizer=options.tokenizer if text else None,
            context=options.context if text else None,
            force=False,
        )
    return out


def convert_pipeline(
    source: Path,
    out: Path,
    options: Options,
    parts: Mapping[str, tuple[str, str | None]] | None = None,
    progress: Progress | None = None,
    say: Say = unsaid,
) -> PipelineArtifact:
    """Convert all networks of a checkpoint; `out` appears when all of it is there."""
    whole = config_of(source)
    pipeline = pipeline_of(whole)
    assert pipeline is not None, f"{source} is of one network"
    every = placed(pipeline, options, parts or {})
    wrong = [p for p in options.overrides if not p.startswith(tuple(f"{name}." for name in every))]
    if wrong:
        raise EdgeError(
            f"the pattern {wrong[0]!r} names no network",
            fix=f"begin it with one: {', '.join(f'{name}.' for name in every)}",
        )
    settings = dict(pipeline.settings(pipeline.fields.checked(whole)))
    if settings.get("system") is None and "template" in settings:
        settings["system"] = system_message(source, settings["template"])
    with publishing(out, force=options.force, keep=lambda _: False) as folder:
        for name, own in every.items():
            convert(source, folder / name, own, progress, say)
        manifest = PipelineManifest(
            family=pipeline.name,
            name=source.resolve().name,
            stages={name: sha256(folder / name / MANIFEST) for name in every},
            settings=settings,
        )
        write_manifest(folder, manifest)
    return PipelineArtifact.open(out)
