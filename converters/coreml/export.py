"""A program -> the files of an .mlpackage, without a weight in memory."""

import json
from pathlib import Path
from typing import Any

from edge_converters.coreml.toolkit import (
    CoreMLProtoExporter,
    MILProtoExporter,
    helper,
    should_use_weight_file,
)
from edge_converters.coreml.weight_file import WeightFile

DATA = "Data/com.apple.CoreML"
WEIGHTS = f"{DATA}/weights/weight.bin"
_IN_PROGRAM = "@model_path/weights/weight.bin"
_VERSION = 9  # of the specification: iOS 18, macOS 15
_ROOT, _WEIGHTS = "5d4bd0b6-7b8a-4a1c-9a34-6d6f64656c31", "5d4bd0b6-7b8a-4a1c-9a34-776569676874"


class _Exporter(MILProtoExporter):  # type: ignore[misc]
    """Names a place of the weight file wherever a constant is a stand-in."""

    def __init__(self, program: Any, weights: WeightFile) -> None:
        super().__init__(program, "", _VERSION)
        self._blobs = weights.placed()

    def get_milproto_value(self, var: Any) -> Any:
        blob = self._blobs.get(var.op.weight_id or "")
        if blob is None:
            assert not should_use_weight_file(var.val, _VERSION), f"{var.name} was not planned"
            return helper.create_immediate_value(var)
        kind = helper.types_to_proto_primitive(var.dtype)
        return helper.create_file_value_tensor(_IN_PROGRAM, blob.offset, blob.shape, kind)


def model(program: Any, weights: WeightFile, metadata: dict[str, str]) -> bytes:
    """The content of model.mlmodel: the same program, the same bytes."""
    code = _Exporter(program, weights).export()
    made = CoreMLProtoExporter(
        program,
        code,
        None,
        None,
        classifier_config=None,
        convert_to="mlprogram",
        convert_from="milinternal",
        specification_version=_VERSION,
    ).export(_VERSION)
    made.description.metadata.userDefined.update(metadata)
    return made.SerializeToString(deterministic=True)


def write(folder: Path, content: bytes) -> None:
    """The package's own files beside the weights that are there."""
    (folder / DATA / "model.mlmodel").write_bytes(content)
    items = {
        _ROOT: _item("Specification", "model.mlmodel"),
        _WEIGHTS: _item("Weights", "weights"),
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": items,
        "rootModelIdentifier": _ROOT,
    }
    (folder / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n")


def _item(what: str, name: str) -> dict[str, str]:
    author = "com.apple.CoreML"
    return {
        "author": author,
        "description": f"CoreML Model {what}",
        "name": name,
        "path": f"{author}/{name}",
    }
