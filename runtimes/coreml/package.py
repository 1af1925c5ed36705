"""An .mlpackage on disk, checked before anything of it is used.

A package is a folder: Manifest.json names a root model and other items by paths inside `Data`; the
model is a protobuf whose large constants are offsets into weight files beside it. Every path is
ours to follow or refuse: no `..`, no link, nothing outside the package.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.artifact.manifest import contained
from edge.errors import Damaged, Unsupported
from edge.files.config import read_json
from edge_runtimes.coreml.toolkit import DecodeError, Model_pb2

MODEL_LIMIT = 1 << 29  # bytes of a program without its weights
_MANIFEST = "Manifest.json"
_PREFIX = "@model_path/"  # how a program spells the folder of its model file


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose manifest and program were read; `model` is coremltools' Model message."""

    folder: Path
    model: Any

    @classmethod
    def open(cls, folder: Path) -> "Package":
        file = _root(folder)
        if file.stat().st_size > MODEL_LIMIT:
            raise Damaged(f"{file} is larger than {MODEL_LIMIT >> 20} MiB", fix=_FIX)
        try:
            model = Model_pb2.Model.FromString(file.read_bytes())
        except DecodeError as error:
            raise Damaged(f"{file} is no Core ML model: {error}", fix=_FIX) from None
        kind = model.WhichOneof("Type")
        if kind != "mlProgram":
            raise Unsupported(
                f"{folder} holds a {kind or 'model of no type'}, not an ML program",
                fix="convert it with minimum_deployment_target iOS 15 or later",
            )
        return cls(file.parent, model)

    def weights(self, name: str) -> Path:
        """The weight file that a program spells `@model_path/weights/weight.bin`."""
        if not name.startswith(_PREFIX):
            raise Damaged(f"weights lie in {name!r:.80}, outside of the package", fix=_FIX)
        return contained(self.folder, name.removeprefix(_PREFIX), by="model.mlmodel")


def _root(folder: Path) -> Path:
    """The file of the root model."""
    if folder.is_symlink() or not folder.is_dir():
        raise Damaged(f"{folder} is no package: a package is a folder", fix=_FIX)
    manifest = read_json(contained(folder, _MANIFEST))
    items, root = manifest.get("itemInfoEntries"), manifest.get("rootModelIdentifier")
    item = items.get(root) if isinstance(items, dict) and isinstance(root, str) else None
    path = item.get("path") if isinstance(item, dict) else None
    if not isinstance(path, str):
        raise Damaged(f"{folder / _MANIFEST} names no root model", fix=_FIX)
    return contained(folder, f"Data/{path}", by=_MANIFEST)


_FIX = "get the package again, or convert again; do not trust it"
