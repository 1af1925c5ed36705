"""An artifact of several networks: a folder with one artifact for each, and an `edge.json` that says which."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from edge.artifact.manifest import MANIFEST, PIPELINE, SCHEMA, Artifact, contained, write_manifest
from edge.errors import Damaged
from edge.families import pipeline_named
from edge.files.config import Config, is_plain, read_json


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineManifest:
    """What `edge.json` holds. `stages`: network -> fingerprint of its folder, which is called so;
    `settings`: how they work together, which the pipeline's own file reads; `files`: file that is of all of
    them -> its sha256.
    """

    family: str
    name: str
    stages: Mapping[str, str]
    settings: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    verified: Mapping[str, Any] | None = None  # the last result of `edge verify`
    kind: str = PIPELINE
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class PipelineArtifact:
    """A folder whose networks were found whole, each by its own manifest."""

    folder: Path
    manifest: PipelineManifest
    stages: Mapping[str, Artifact]

    @classmethod
    def open(cls, folder: Path) -> "PipelineArtifact":
        config = Config(read_json(folder / MANIFEST), str(folder / MANIFEST))
        stages, settings = config.strings("stages"), config.table("settings")
        verified = config.table("verified")
        if config.data.get("schema") != SCHEMA or not stages or settings is None:
            raise Damaged(f"{config.where} is no pipeline of this edge", fix="convert again")
        for name, digest in stages.items():
            if not is_plain(name) or (folder / name).is_symlink():
                raise Damaged(
                    f"{config.where} names {name!r:.60}, no folder of it", fix="do not trust it"
                )
            if not (folder / name / MANIFEST).is_file():
                raise Damaged(f"{folder} has no network {name!r:.60}", fix="convert again")
            if fingerprint(folder / name) != digest:
                raise Damaged(
                    f"{folder / name} was changed since it became a part of {folder}",
                    fix="convert again",
                )
        manifest = PipelineManifest(
            family=config.text("family"),
            name=config.text("name"),
            stages=stages,
            settings=settings.data,
            files=config.strings("files"),
            verified=None if verified is None else verified.data,
        )
        for name in manifest.files:
            contained(folder, name)
        parts = {name: Artifact.open(folder / name) for name in stages}
        specs = {name: part.manifest.spec for name, part in parts.items()}
        pipeline_named(manifest.family, config.where).connect(specs, str(folder))
        return cls(folder, manifest, parts)

    @property
    def files(self) -> dict[str, str]:
        """Hashes of all networks' files, and of those that are of all, by their paths from here."""
        of_networks = {
            f"{stage}/{name}": digest
            for stage, artifact in self.stages.items()
            for name, digest in artifact.files.items()
        }
        return {**of_networks, **self.manifest.files}

    @property
    def nbytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)

    def record(self, verified: Mapping[str, Any]) -> None:
        """Keep the result of a verification in the manifest of the whole."""
        write_manifest(self.folder, replace(self.manifest, verified=verified))


def fingerprint(folder: Path) -> str:
    """The hash of what a network's manifest says of it, whatever was proved since."""
    said = {key: value for key, value in read_json(folder / MANIFEST).items() if key != "verified"}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def is_pipeline(folder: Path) -> bool:
    file = folder / MANIFEST
    return file.is_file() and read_json(file).get("kind") == PIPELINE
