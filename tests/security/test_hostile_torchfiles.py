"""Torch's files by a stranger: one clear error each, in bounded time and memory, and nothing runs."""

import contextlib
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, environment
from torchfiles import FLOATS, PARAMETER, REBUILD, file_of, tensor, text

from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.torchfile import TorchFile
from edge.files.unpickled import plain


def test_what_these_tests_write_is_read(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.bin", {"w": tensor((2, 2), (2, 1), count=4)}, {"0": bytes(16)})
    with TorchFile(path) as file:
        assert file.rows("w", 0, 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("made", "kind", "problem"),
    [
        (tensor((1 << 40, 1 << 40), (1 << 40, 1), count=4), Damaged, "past its storage"),
        (tensor((2, 2), (1 << 47, 1), count=4), Damaged, "past its storage"),
        (tensor((2, 2), (2, 1), count=4, offset=1), Damaged, "past its storage"),
        (tensor((2, 2), (-2, 1), count=4), Damaged, "no size"),
        (tensor((-2, 2), (2, 1), count=4), Damaged, "no size"),
        (tensor((2, 2), (2, 1), count=4, offset=-1), Damaged, "no size"),
        (tensor((2, 2), (1, 1), count=4), Unsupported, "an element twice"),
        (tensor((2, 2), (0, 0), count=4), Unsupported, "an element twice"),
        (tensor((2, 2), (2,), count=4), Damaged, "2 sizes and 1 strides"),
        (tensor((1,) * 9, (1,) * 9, count=4), Damaged, "9 sizes"),
        (tensor((2, 2), (2, 1), count=1 << 40), Damaged, "has 16 bytes"),
        (tensor((2, 2), (2, 1), count=4, key="1"), Damaged, "no record"),
        (tensor((2, 2), (2, 1), count=4, key="../0"), Damaged, "a storage of the key"),
        (REBUILD + b")R", Damaged, "no sound pickle"),
        (FLOATS, Unsupported, "no tensors by name"),
    ],
)
def test_tensors_that_lie(tmp_path: Path, made: bytes, kind: type[EdgeError], problem: str) -> None:
    path = file_of(tmp_path / "a.bin", {"w": made}, {"0": bytes(16)})
    with pytest.raises(kind, match=problem):
        TorchFile(path)


def laugh(depth: int) -> bytes:
    """A list that holds itself twice, so many times over: its parts are 2^depth if written out."""
    return b"]" + b"q\0]h\0ah\0a" * depth


BOMBS: dict[str, Callable[[], bytes]] = {
    "a call of what is endless": lambda: laugh(60) + b")R.",
    "an argument that is endless": lambda: REBUILD + laugh(60) + b"R.",
    "arguments that are endless": lambda: REBUILD + b"(" + laugh(60) + b"tR.",
    "sizes that are endless": lambda: PARAMETER + b"(" + laugh(60) + b"tR.",
    "a size that is endless": lambda: b"ctorch\nSize\n(" + laugh(60) + b"ttR.",
    "a size that is deep": lambda: b"ctorch\nSize\n((" + b"]" + b"\x85" * 1_000_000 + b"ttR.",
    "a storage that is endless": lambda: b"(" + laugh(60) + b"tQ.",
    "a key that is endless": lambda: b"}" + laugh(60) + b"Ns.",
    "millions of lists": lambda: b"]" * (60 << 20) + b".",
    "millions of dicts": lambda: b"(" + b"}" * (60 << 20) + b"t.",
    "millions of marks": lambda: b"(" * (60 << 20) + b".",
    "a length that is not there": lambda: b"\x8d" + struct.pack("<Q", 1 << 40) + b".",
    "a number of many digits": lambda: b"I" + b"9" * 100_000 + b"\n.",
    "a memo far away": lambda: b"Nr\xff\xff\xff\xff.",
}  # fmt: skip
_LEAST = 1 << 30  # bytes of memory that a bomb may take beside the interpreter


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_go_off_in_bounds(tmp_path: Path, name: str) -> None:
    """In a process of its own, whose memory and time are bounded."""
    (tmp_path / "a.pkl").write_bytes(BOMBS[name]())
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.write(tmp_path / "a.pkl", "a/data.pkl")
    code = f"""
import resource, sys
from pathlib import Path
from edge.errors import EdgeError
from edge.files.torchfile import TorchFile
from edge.files.unpickled import plain
resource.setrlimit(resource.RLIMIT_AS, ({2 * _LEAST}, {2 * _LEAST}))
for call in (lambda: plain(Path(sys.argv[1], "a.pkl")), lambda: TorchFile(Path(sys.argv[1], "a.bin"))):
    try:
        call()
    except EdgeError as error:
        assert len(str(error)) < 1000, len(str(error))
    else:
        raise SystemExit("it was read")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout


def test_records_that_are_packed_doubled_or_moved(tmp_path: Path) -> None:
    """A bomb of zip is not unpacked; two records are not one place; a name is one record."""
    made = {"w": tensor((2, 2), (2, 1), count=4)}
    packed = file_of(tmp_path / "a.bin", made, {"0": bytes(16)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(Unsupported, match="compressed"):
        TorchFile(packed)
    with zipfile.ZipFile(tmp_path / "c.bin", "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/data.pkl", b"N.")
    with pytest.raises(Damaged, match="twice"):
        TorchFile(tmp_path / "c.bin")
    both = {"w": made["w"], "v": tensor((2, 2), (2, 1), count=4, key="1")}
    content = bytearray(
        file_of(tmp_path / "d.bin", both, {"0": bytes(16), "1": bytes(16)}).read_bytes()
    )
    first, second = (
        content.index(b"a/data/" + key, content.index(b"PK\1\2")) for key in (b"0", b"1")
    )
    content[second - 4 : second] = content[first - 4 : first]  # where its local header is
    (tmp_path / "d.bin").write_bytes(content)
    with pytest.raises(Damaged, match="local header"):
        TorchFile(tmp_path / "d.bin")


def test_cycles_are_harmless(tmp_path: Path) -> None:
    """A state dict that holds itself: its tensors are read, and the circle is not gone round."""
    items = b"}q\0(" + text("self") + b"h\0" + text("w") + tensor((2, 2), (2, 1), count=4) + b"u."
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + items)
        archive.writestr("a/data/0", bytes(16))
    with TorchFile(tmp_path / "a.bin") as file:
        assert set(file.entries) == {"w"}
    (tmp_path / "b.pkl").write_bytes(b"}q\0(" + text("self") + b"h\0u.")
    with pytest.raises(Damaged, match="within itself"):
        plain(tmp_path / "b.pkl")


def test_only_named_opcodes_are_read(tmp_path: Path) -> None:
    """Each of Python's opcodes alone, and after a little of a stack: an answer or an error, never more."""
    import pickletools

    for opcode in pickletools.opcodes:
        code = opcode.code.encode("latin1")
        for before in (b"", b"N", b"(NN", b"}NN", b"](N", b"cos\nsystem\n(S'x'\nt"):
            (tmp_path / "a.pkl").write_bytes(before + code + b"\0\n\0\n\0\0\0\0\0\0.")
            start = time.monotonic()
            with contextlib.suppress(EdgeError):
                plain(tmp_path / "a.pkl")
            assert time.monotonic() - start < 5
    refused = [b"i", b"o", b"\x81", b"\x92", b"\x82", b"\x83", b"\x84", b"P"]
    for code in refused:
        (tmp_path / "a.pkl").write_bytes(b"(NNN" + code + b"\0\n\0\n.")
        with pytest.raises(EdgeError):
            plain(tmp_path / "a.pkl")
    assert pickle.HIGHEST_PROTOCOL == 5, "a newer protocol: look at its opcodes"
