"""Texts that users give, as the editors of this world save them."""

from pathlib import Path

import pytest
from support import ROOT

from edge.convert.calibration import Calibration
from edge.data.corpus import Corpus, Piece
from edge.decode.grammar import Grammar
from edge.errors import EdgeError
from edge.files.texts import text_of
from edge.train import recipe

TEXT = "Zoë said:\r\n日本 🐈\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "it"


def test_a_byte_order_mark_is_no_text(file: Path) -> None:
    file.write_bytes(TEXT.encode("utf-8-sig"))
    assert text_of(file) == TEXT
    assert Calibration.of(file).content == TEXT
    assert Corpus([str(file)], seed=0).block(0) == [Piece(TEXT, True)]
    file.write_bytes(('{"type": "object"}').encode("utf-8-sig"))
    Grammar.of_schema(text_of(file))
    example = (ROOT / "edge/train/recipes/stories.yaml").read_text()
    file.write_bytes(example.encode("utf-8-sig"))
    assert recipe.read(file) == recipe.read(ROOT / "edge/train/recipes/stories.yaml")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_another_encoding_is_refused_by_its_name(file: Path, encoding: str) -> None:
    mark = "" if len(encoding) == 6 else "\ufeff"
    file.write_bytes((mark + TEXT).encode(encoding))
    for read in (text_of, Calibration.of, recipe.read, lambda one: Corpus([str(one)], seed=0)):
        with pytest.raises(EdgeError, match=f"UTF-8 text: it is {encoding[:6].upper()}"):
            read(file)


@pytest.mark.parametrize("content", [b"\xff", b"a\xc3", "é".encode("latin-1"), b"\xed\xa0\x80"])
def test_what_is_no_text_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(EdgeError, match="cannot be read as UTF-8 text"):
        text_of(file)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="Is a directory"):
        text_of(tmp_path)
