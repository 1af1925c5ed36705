"""The folder that an app loads: `app.json`, a whole tokenizer.json, and the files of each network."""

import json
import shutil
from pathlib import Path
from typing import Any

from edge.apps.description import APP, Source, conversations, described
from edge.apps.selftest import device_test
from edge.artifact.manifest import MANIFEST, Artifact, contained
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.artifact.publishing import publishing
from edge.errors import Damaged
from edge.files.hashing import sha256
from edge.text.tokenizer import Tokenizer

TOKENIZER = "tokenizer.json"
TEST = "selftest.json"


def write_app(folder: Path, out: Path, *, force: bool, test: bool = True) -> dict[str, Any]:
    """Write the folder of an app from an artifact's, file by file, each as its manifest has it; returns app.json.

    `test`: with what its device must compute, where the artifact's target has such.
    """
    opened: Artifact | PipelineArtifact = (
        PipelineArtifact.open(folder) if is_pipeline(folder) else Artifact.open(folder)
    )
    source = Source.of(opened)
    tokenizer = Tokenizer.load(source.text.folder)
    said = described(source, tokenizer, conversations(source))
    with publishing(out, force=force, ours=is_app) as partial:
        for name, module in source.modules.items():
            files = _copied(module, partial / name)
            said["modules"][name]["files"] = [
                {**file, "name": f"{name}/{file['name']}"} for file in files
            ]
        (partial / TOKENIZER).write_text(tokenizer.definition(), encoding="utf-8")
        said["tokenizer"] = _told(partial / TOKENIZER, TOKENIZER)
        cases = device_test(source.text, tokenizer) if test else None
        if cases is not None:
            (partial / TEST).write_text(json.dumps({"cases": cases}), encoding="utf-8")
        said["selftest"] = None if cases is None else _told(partial / TEST, TEST)
        text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
        (partial / APP).write_text(text, encoding="utf-8")
    return said


def is_app(folder: Path) -> bool:
    return (folder / APP).is_file()


def _copied(module: Artifact, out: Path) -> list[dict[str, Any]]:
    """The manifest and every file that it names, copied; refuses one whose bytes are others than it says."""
    told = []
    for name, digest in {MANIFEST: None, **module.files}.items():
        file = module.folder / name if digest is None else contained(module.folder, name)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, out / name)
        found = _told(out / name, name)
        if digest is not None and found["sha256"] != digest:
            raise Damaged(
                f"{file} is not what {MANIFEST} says of it", fix="convert again, or get it again"
            )
        told.append(found)
    return told


def _told(file: Path, name: str) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(file), "bytes": file.stat().st_size}
