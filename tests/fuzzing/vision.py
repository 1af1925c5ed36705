"""Readers of what vision takes from strangers: pictures, boxes in them, and a copy of WordNet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def wordnets() -> Sequence[bytes]:
    import tempfile

    from wordnets import ANIMALS, written

    with tempfile.TemporaryDirectory() as name:
        written(Path(name), ANIMALS)
        return [b"\0".join((Path(name) / f"{x}.noun").read_bytes() for x in ("index", "data"))]


def read_wordnet(folder: Path, content: bytes) -> None:
    from edge.vision.wordnet import WordNet

    index, _, data = content.partition(b"\0")
    (folder / "index.noun").write_bytes(index)
    (folder / "data.noun").write_bytes(data)
    wordnet = WordNet.load(folder)
    for word in ("golden retriever", "crane", "Fido"):
        for offset in wordnet.senses(word):
            wordnet.name(offset)
            wordnet.above(offset)


def pictures() -> Sequence[bytes]:
    """Each format that Pillow can write, tiny."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    out = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, exif=exif)
        out.append(stream.getvalue())
    return out


def boxes() -> Sequence[bytes]:
    """COCO's JSON."""
    import json

    note = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 4, 5.5], "iscrowd": 0}
    whole = {
        "images": [{"id": 7, "file_name": "1.png", "width": 7, "height": 9}],
        "annotations": [note, {**note, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "dog"}],
    }
    return [json.dumps(whole).encode(), json.dumps({"images": whole["images"]}, indent=1).encode()]


def lines() -> Sequence[bytes]:
    """Of captions with phrases, of phrases, and of regions."""
    import json

    phrases = [{"phrase": "A dog", "boxes": [[1, 1, 5, 6.5]]}]
    values = (
        {"image": "1.png", "caption": "A dog runs.", "phrases": phrases},
        {"image": "1.png", "phrases": phrases},
        {"image": "1.png", "regions": [{"box": [0, 0, 7, 9], "caption": "a dog"}]},
    )
    return [b"\n".join(json.dumps(value).encode() for value in values)]


def read_boxes(folder: Path, content: bytes) -> None:
    _marked(folder, content, "it.json")


def read_lines(folder: Path, content: bytes) -> None:
    _marked(folder, content, "it.jsonl")


def _marked(folder: Path, content: bytes, name: str) -> None:
    """Whatever was read lies in its picture, and each answer reads back to boxes that are there."""
    from edge.data.regions.files import read
    from edge.text.grounded import read as answered

    (folder / "1.png").write_bytes(pictures()[0])
    (folder / name).write_bytes(content)
    for one in read([str(folder / name)]).marked:
        assert one.file.parent == folder
        for left, top, right, bottom in one.boxes:
            assert 0 <= left < right <= one.width
            assert 0 <= top < bottom <= one.height
        for talk in one.talks:
            assert not answered(talk.answer, len(one.boxes)).unknown
            assert all(number < len(one.boxes) for number in talk.referred)


def read_picture(folder: Path, content: bytes) -> None:
    from edge.vision.pictures import open_picture

    open_picture(content)
