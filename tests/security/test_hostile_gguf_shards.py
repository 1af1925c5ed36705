"""Models in several GGUF files that do not belong together, or lie about it: one clear error each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from attack import refused
from gguf_files import I32, STRING, U8, U16, U32, File, array, key, tensor

from edge.errors import Damaged, EdgeError, Unsupported
from edge.gguf.judge import spec_of
from edge.gguf.reader import GGUFFile
from edge.gguf.shards import GGUFModel, files_of

DATA = np.arange(16, dtype=np.float32).tobytes()
NAMES = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")


def said(number: int, count: int = 2, tensors: int = 2) -> list[bytes]:
    return [
        key("split.no", U16, number),
        key("split.count", U16, count),
        key("split.tensors.count", I32, tensors),
    ]


def one(name: str, keys: Sequence[bytes]) -> bytes:
    """A file of a single tensor."""
    return File(keys=keys, tensors=[tensor(name, (2, 8))], data=DATA).bytes()


FIRST = [key("general.architecture", STRING, "llama"), *said(0)]
GOOD = (one("a.weight", FIRST), one("b.weight", said(1)))


def written(folder: Path, contents: Sequence[bytes | None], names: Sequence[str] = NAMES) -> Path:
    for name, content in zip(names, contents, strict=True):
        if content is not None:
            (folder / name).write_bytes(content)
    return folder / names[0]


def read_all(first: Path) -> None:
    with GGUFModel(first) as model:
        for name, found in model.tensors.items():
            model.raw(name, 0, found.rows)


def test_files_that_belong_together(tmp_path: Path) -> None:
    with GGUFModel(written(tmp_path, GOOD)) as model:
        assert (model.files, model.counts) == (2, [1, 1])
        assert list(model.tensors) == ["a.weight", "b.weight"]
        want = np.arange(16, dtype=np.float32).reshape(2, 8)
        for name in model.tensors:
            np.testing.assert_array_equal(model.rows(name, 0, 2), want)
            np.testing.assert_array_equal(model.rows(name, 1, 2), want[1:])
    with pytest.raises(OSError, match="descriptor"):
        model.rows("b.weight", 0, 1)


LIES: dict[str, tuple[bytes | None, bytes | None]] = {
    "the first is empty": (b"", GOOD[1]),
    "the first is cut off": (GOOD[0][:-1], GOOD[1]),
    "the second is missing": (GOOD[0], None),
    "the second is empty": (GOOD[0], b""),
    "the second is cut off": (GOOD[0], GOOD[1][:-1]),
    "the same tensor twice": (GOOD[0], one("a.weight", said(1))),
    "the first twice": (GOOD[0], GOOD[0]),
    "the second says nothing": (GOOD[0], one("b.weight", [])),
    "the first says nothing": (one("a.weight", FIRST[:1]), GOOD[1]),
    "the second says it is the first": (GOOD[0], one("b.weight", said(0))),
    "the second says it is the third": (GOOD[0], one("b.weight", said(2))),
    "the first says it is the second": (one("a.weight", said(1)), GOOD[1]),
    "the second is one of three": (GOOD[0], one("b.weight", said(1, 3))),
    "the first is one of three": (one("a.weight", said(0, 3)), GOOD[1]),
    "the first is one of one": (one("a.weight", said(0, 1)), GOOD[1]),
    "another number of tensors": (GOOD[0], one("b.weight", said(1, tensors=3))),
    "more tensors than there are": (one("a.weight", said(0, tensors=3)), GOOD[1]),
    "a negative number of tensors": (one("a.weight", said(0, tensors=-1)), GOOD[1]),
    # llama.cpp ends the process over a number of another type.
    "a wide number": (GOOD[0], one("b.weight", [key("split.no", U32, 1), *said(1)[1:]])),
    "a narrow number": (GOOD[0], one("b.weight", [key("split.no", U8, 1), *said(1)[1:]])),
    "a number as text": (GOOD[0], one("b.weight", [key("split.no", STRING, "1"), *said(1)[1:]])),
    "a list of numbers": (GOOD[0], one("b.weight", [array("split.no", U16, [1]), *said(1)[1:]])),
    "a wide count": (
        one("a.weight", [said(0)[0], key("split.count", U32, 2), said(0)[2]]),
        GOOD[1],
    ),
    "an unsigned number of tensors": (
        one("a.weight", [*said(0)[:2], key("split.tensors.count", U32, 2)]),
        GOOD[1],
    ),
}


@pytest.mark.parametrize("contents", LIES.values(), ids=LIES.keys())
def test_files_that_lie(tmp_path: Path, contents: Sequence[bytes | None]) -> None:
    first = written(tmp_path, contents)
    with refused(Damaged, "m-0000"):
        read_all(first)


@pytest.mark.parametrize("at", range(0, len(GOOD[1]), 5))
def test_any_bit_of_the_second_changed(tmp_path: Path, at: int) -> None:
    content = bytearray(GOOD[1])
    content[at] ^= 16
    first = written(tmp_path, (GOOD[0], bytes(content)))
    try:
        read_all(first)
    except EdgeError:
        return


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    first = written(tmp_path, (GOOD[0], None))
    (tmp_path / NAMES[1]).mkdir()
    with refused(Damaged, "needs m-00002-of-00002.gguf beside it"):
        read_all(first)


@pytest.mark.parametrize("count", ["00000", "99999"])
def test_a_name_of_everything(tmp_path: Path, count: str) -> None:
    first = written(tmp_path, GOOD[:1], [f"m-00001-of-{count}.gguf"])
    with refused(Damaged, "named as one of"):
        read_all(first)


def test_one_of_several_alone_is_refused(tmp_path: Path) -> None:
    """Under another name, or opened as a file of its own."""
    first = written(tmp_path, GOOD)
    (tmp_path / "m.gguf").write_bytes(GOOD[0])
    with GGUFModel(tmp_path / "m.gguf") as alone, refused(Unsupported, "one of 2 parts"):
        spec_of(alone)
    with GGUFFile(first) as alone, refused(Unsupported, "one of 2 parts"):
        spec_of(alone)


def test_any_other_name_is_of_one_file() -> None:
    for name in ("model.gguf", "m-00002-of-00002.gguf", "m-1-of-2.gguf", "m-00001-of-00002.bin"):
        assert files_of(Path(name)) == [Path(name)]
