"""Readers of torch's files and of pickles of plain data."""

import collections
import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torchfiles import file_of, tensor

WORDS = (
    b"q\0",
    b"h\0",
    b"]",
    b"\x85",
    b"cos\nsystem\n",
    b")R",
    b"tR",
    b"\x93",
    b"PK\1\2",
    b"PK\6\6",
    b"b",
    b"Q",
)


def files() -> Sequence[bytes]:
    tensors = {
        "dense": tensor((2, 2), (2, 1), count=4),
        "turned": tensor((3, 2), (1, 3), count=7, offset=1, key="1"),
        "none": tensor((0, 2), (2, 1), count=4),
    }
    with tempfile.TemporaryDirectory() as name:
        path = file_of(Path(name, "a.bin"), tensors, {"0": bytes(16), "1": bytes(28)})
        return [path.read_bytes()]


def read_file(folder: Path, content: bytes) -> None:
    from edge.files.torchfile import TorchFile

    (folder / "a.bin").write_bytes(content)
    with TorchFile(folder / "a.bin") as file:
        for name, entry in file.entries.items():
            file.rows(name, 0, min(4, entry.shape[0]) if entry.shape else 1)


def pickles() -> Sequence[bytes]:
    value = {"n1": [1, -2, 1 << 40, True, None, 2.5], "b": ("x", b"\xff", b""), 3: {}}
    counted = collections.Counter({f"n{i}": i for i in range(9)})
    return [pickle.dumps(v, protocol) for v in (value, counted) for protocol in range(6)]


def read_pickle(folder: Path, content: bytes) -> None:
    from edge.files.unpickled import plain

    (folder / "a.pkl").write_bytes(content)
    plain(folder / "a.pkl")
