"""Readers of artifacts and checkpoints of networks that are no decoders, which strangers may have made."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

Read = Callable[[Path, bytes], None]
FILES = (
    ("onnx", "onnxruntime", "edge.json", "json"),
    ("onnx", "onnxruntime", "model.onnx", "protobuf"),
    ("onnx", "onnxruntime", "labels.txt", "text"),
    ("mlx", "mlx", "model.safetensors", "safetensors"),
    ("mlx", "mlx", "config.json", "json"),
    (
        "coreml",
        "coremltools",
        "model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "protobuf",
    ),
)
TWINS = {"model.onnx": ("model.onnx", "signed.onnx")}  # whichever this processor is quicker with


@cache
def made(target: str) -> Path:
    """A tiny artifact of a target, made once a process."""
    import tempfile

    from towers import TOWERS

    from edge.convert.conversion import convert
    from edge.convert.options import Options

    folder = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    labels = {str(row): f"word {row}" for row in range(TOWERS["catlip"].tiny["num_labels"])}
    TOWERS["catlip"].write(folder / "source", id2label=labels)
    quant = "fp16" if target == "coreml" else "int8"
    convert(folder / "source", folder / "it", Options(target=target, quant=quant))
    return folder / "it"


def runner(target: str, name: str) -> tuple[Callable[[], Sequence[bytes]], Read]:
    """Seeds of one file of an artifact, and a reader that loads the artifact with it and is shown a picture."""

    @cache
    def seeds() -> Sequence[bytes]:
        return [(made(target) / name).read_bytes()]

    def read(folder: Path, content: bytes) -> None:
        from edge.measure.inspection import inspect
        from edge.pipelines.loading import load
        from edge.vision.pictures import Picture

        place = folder / target
        if not place.exists():
            shutil.copytree(made(target), place)
        twins = [place / other for other in TWINS.get(name, (name,))]
        for file in twins:
            file.write_bytes(content)
        try:
            inspect(place)
            more = {"reference": True} if target == "coreml" else {}  # which runs in numpy here
            found = load(place, unchecked=True, **more)
            found.classify(Picture(rgb=np.zeros((70, 80, 3), np.uint8)))
        finally:
            for file in twins:
                file.write_bytes(seeds()[0])

    return seeds, read


def runners() -> dict[str, tuple[str, Callable[[], Sequence[bytes]], Read]]:
    """Kind, seeds and reader, for each target whose packages are here."""
    return {
        f"network {target} {Path(name).name}": (kind, *runner(target, name))
        for target, library, name, kind in FILES
        if find_spec(library) is not None
    }


def preparations() -> Sequence[bytes]:
    sized = {"height": 8, "width": 9}
    return [
        json.dumps(fields).encode()
        for fields in (
            {"do_resize": True, "size": sized, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            {"size": {"shortest_edge": 9}, "resample": 2, "crop_size": sized, "do_normalize": False},
        )
    ]  # fmt: skip


def read_preparation(folder: Path, content: bytes) -> None:
    from edge.files.config import read_json
    from edge.vision.pictures import Picture
    from edge.vision.preparation import prepare
    from edge.vision.preparation import read_preparation as read

    (folder / "preprocessor_config.json").write_bytes(content)
    found = read(read_json(folder / "preprocessor_config.json"))
    prepare(Picture(rgb=np.zeros((12, 10, 3), np.uint8)), found)


def labels() -> Sequence[bytes]:
    return [b'{"n1740": 3, "n2137": 2, "a dog": 1}', b'{"labels": ["a", "b", "n3\\tcat"]}']


def read_labels(folder: Path, content: bytes) -> None:
    from edge.vision.classes import cut
    from edge.vision.labels import Vocabulary

    (folder / "labels.json").write_bytes(content)
    vocabulary = Vocabulary.read(folder / "labels.json", size=2)
    cut([vocabulary.labels[0].name], vocabulary)
