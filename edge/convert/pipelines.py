"""A checkpoint of several networks -> one artifact with a folder for each: its own target, recipe, hashes and
proof.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.artifact.manifest import write_manifest
from edge.artifact.pipeline import PipelineArtifact, PipelineManifest, fingerprint
from edge.artifact.publishing import publishing
from edge.convert.conversion import convert, unsaid
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.families import Pipeline, pipeline_of
from edge.files.hashing import sha256
from edge.source.headers import Headers, config_of
from edge.system.progress import Progress
from edge.text.conversations import system_message
from edge.typing import Say

TEXT = "text"  # the network that decodes
_OF_TEXT: Mapping[str, Any] = {
    "embed": None,
    "head": None,
    "size": None,
    "calibrate": None,
    "calibrate_on": None,
    "context": None,
    "exits": (),
    "draft_vocab": None,
    "snapkv_rows": (),
    "tokenizer": None,
}  # which other networks have no use for


def is_of_several(source: Path) -> bool:
    """Whether a checkpoint is several networks."""
    return pipeline_of(config_of(source)) is not None


def parts_of(words: Sequence[str]) -> dict[str, tuple[str, str | None]] | None:
    """`NETWORK=TARGET[:RECIPE]` -> the target and the recipe of each; None: all are targets of every network."""
    if not any("=" in word for word in words):
        return None
    parts: dict[str, tuple[str, str | None]] = {}
    for word in words:
        name, sign, place = word.partition("=")
        target, _, quant = place.partition(":")
        if not (name and sign and target):
            raise EdgeError(
                f"--to {','.join(words)}: {word!r} names no target of a network",
                fix="write NETWORK=TARGET for each, as vision=onnx:int8; or targets alone",
            )
        if name in parts:
            raise EdgeError(f"--to {','.join(words)} places {name!r} twice", fix="name each once")
        parts[name] = target, quant or None
    return parts


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
    for stage in pipeline.stages:
        name = stage.name
        target, quant = parts.get(name, (options.target, None))
        own = options if name == TEXT else replace(options, **_OF_TEXT)
        out[name] = replace(
            own,
            target=target,
            quant=quant or options.quant or stage.quant or pipeline.quant,
            stage=name,
            spliced=name == TEXT,
            overrides={
                pattern.removeprefix(f"{name}."): scheme
                for pattern, scheme in options.overrides.items()
                if pattern.startswith(f"{name}.")
            },
            force=False,
        )
    return out


@contextmanager
def in_its_name(network: str) -> Iterator[None]:
    """What one network's conversion refuses is said as of that network; patterns begin with its name."""
    try:
        yield
    except EdgeError as error:
        fix = error.fix.replace("--override '", f"--override '{network}.")
        error.say(f"{network}: {error.problem}", fix=fix)
        raise


def settings_of(pipeline: Pipeline, source: Path) -> dict[str, Any]:
    """How the networks of a checkpoint work together."""
    settings = dict(pipeline.settings(pipeline.fields.checked(config_of(source))))
    if settings.get("system") is None and "template" in settings:
        settings["system"] = system_message(source, settings["template"])
    return settings


def files_of(pipeline: Pipeline, source: Path) -> dict[str, str]:
    """sha256 of the files of a checkpoint that its artifacts keep as they are, by name."""
    return {name: sha256(source / name) for name in pipeline.files if (source / name).is_file()}


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
    settings = settings_of(pipeline, source)
    headers = Headers.of(source)
    specs = {stage.name: headers.of_stage(stage.name).spec() for stage in pipeline.stages}
    pipeline.connect(specs, str(source))  # before any work
    with publishing(out, force=options.force, keep=lambda _: False) as folder:
        for name, own in every.items():
            with in_its_name(name):
                convert(source, folder / name, own, progress, say)
        files = files_of(pipeline, source)
        for name in files:
            shutil.copyfile(source / name, folder / name)
        manifest = PipelineManifest(
            family=pipeline.name,
            name=source.resolve().name,
            stages={name: fingerprint(folder / name) for name in every},
            settings=settings,
            files=files,
        )
        write_manifest(folder, manifest)
    return PipelineArtifact.open(out)
