"""What there is: the models of the registry, and the checkpoints and artifacts on this machine."""

from pathlib import Path
from typing import Any

from edge.artifact.manifest import Artifact, is_artifact
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.errors import EdgeError
from edge.source import registry
from edge.source.pull import read_pins
from edge.system.home import artifacts, checkpoints

Row = dict[str, Any]


def list_models() -> list[Row]:
    """Rows of three kinds: `model`, `checkpoint`, `artifact`."""
    return [*_models(), *_checkpoints(), *_artifacts()]


def _models() -> list[Row]:
    return [
        {
            "id": entry.id,
            "kind": "model",
            "aliases": list(entry.aliases),
            "family": entry.family,
            "context": entry.context,
            "parameters": entry.parameters,
            "licence": entry.licence,
            "gated": entry.gated,
            "exits": list(entry.exits),
            "source": entry.source or entry.url or "ships with edge",
        }
        for entry in registry.entries().values()
    ]


def _checkpoints() -> list[Row]:
    """What was pulled; without a revision, not yet to its end."""
    pins = read_pins()
    rows = []
    for folder in _folders(checkpoints()):
        pin = pins.get(folder.name)
        rows.append(
            {
                "id": folder.name,
                "kind": "checkpoint",
                "source": None if pin is None else pin.source,
                "revision": None if pin is None else pin.revision,
                "bytes": _size(folder),
                "path": str(folder),
            }
        )
    return rows


def _artifacts() -> list[Row]:
    """What `run` made; one that cannot be read is listed, for it takes room, too."""
    rows = []
    for folder in filter(is_artifact, _folders(artifacts())):
        row: Row = {"id": str(folder), "kind": "artifact", "bytes": _size(folder)}
        try:
            row |= _several(folder) if is_pipeline(folder) else _one(Artifact.open(folder))
        except EdgeError as error:
            row["problem"] = error.problem
        rows.append(row)
    return rows


def _one(artifact: Artifact) -> Row:
    manifest = artifact.manifest
    return {
        "family": manifest.family,
        "context": getattr(manifest.spec, "context", None),
        "recipe": manifest.recipe,
        "target": manifest.target,
    }


def _several(folder: Path) -> Row:
    """Of several networks: of each its recipe and its target, or those of all where they are the same."""
    artifact = PipelineArtifact.open(folder)
    rows = [_one(stage) for stage in artifact.stages.values()]
    same = {key: ", ".join(dict.fromkeys(row[key] for row in rows)) for key in ("recipe", "target")}
    contexts = [row["context"] for row in rows if row["context"] is not None]
    return {"family": artifact.manifest.family, "context": min(contexts, default=None), **same}


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.glob("*") if path.is_dir())


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
