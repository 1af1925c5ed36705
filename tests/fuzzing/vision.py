"""Readers of what vision takes from strangers: pictures, and a copy of WordNet."""

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


def read_picture(folder: Path, content: bytes) -> None:
    from edge.vision.pictures import open_picture

    open_picture(content)
