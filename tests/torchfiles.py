"""Files as torch.save writes them, instruction by instruction: no torch, and any lie."""

import struct
import zipfile
from pathlib import Path

FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
PARAMETER = b"ctorch._utils\n_rebuild_parameter\n"
ORDERED = b"ccollections\nOrderedDict\n)R"


def number(value: int) -> bytes:
    return b"\x8a" + struct.pack("<Bq", 8, value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def counts(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    shape: tuple[int, ...], strides: tuple[int, ...], *, count: int, offset: int = 0, key: str = "0"
) -> bytes:
    """The instructions that make one, as torch.save writes them."""
    storage = b"(" + text("storage") + FLOATS + text(key) + text("cpu") + number(count) + b"tQ"
    parts = storage + number(offset) + counts(*shape) + counts(*strides) + b"\x89" + ORDERED
    return REBUILD + b"(" + parts + b"tR"


def file_of(
    path: Path, tensors: dict[str, bytes], records: dict[str, bytes], compression: int = 0
) -> Path:
    """A zip of one pickle and of these storages."""
    items = b"".join(text(name) + made for name, made in tensors.items())
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}(" + items + b"u.")
        for key, content in records.items():
            archive.writestr(f"a/data/{key}", content)
    return path
