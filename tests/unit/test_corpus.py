"""Texts in blocks: every byte once an epoch, an order that a seed fixes, rows that go on anywhere."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from edge.data import corpus
from edge.data.corpus import Corpus, Stream, StreamPosition
from edge.errors import EdgeError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 64)
    monkeypatch.setattr(corpus, "_REACH", 24)


def written(folder: Path, *contents: str) -> list[str]:
    files = [folder / f"{number}.txt" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content, encoding="utf-8", newline="")
    return [str(file) for file in files]


def wild(seed: int, size: int, letters: str) -> str:
    return "".join(random.Random(seed).choices(letters, k=size))


TEXTS = (
    wild(0, 700, "abcdefgh \n"),
    wild(1, 500, "é日🙂"),  # no blank: cut between characters
    wild(2, 300, "日本語 "),
    "short",
    "",
)


def encode(text: str, begins: bool) -> list[int]:
    """Letters; a document begins with zero."""
    return [0] * begins + [ord(letter) for letter in text]


def epoch(made: Corpus, number: int) -> list[tuple[str, bool]]:
    pieces = (made.block(number * made.blocks + place) for place in range(made.blocks))
    return [(piece.text, piece.begins) for block in pieces for piece in block]


def test_an_epoch_is_every_text_once(tmp_path: Path) -> None:
    made = Corpus(written(tmp_path, *TEXTS), seed=1)
    for number in (0, 1, 7):
        blocks = epoch(made, number)
        assert sorted("".join(text for text, _ in blocks)) == sorted("".join(TEXTS))
        assert sum(begins for _, begins in blocks) == 4  # of the files that hold anything
    in_order = Corpus(written(tmp_path, TEXTS[0]), seed=1)
    pieces = [text for text, _ in epoch(in_order, 0)]
    assert all(piece in TEXTS[0] for piece in pieces)
    assert all(piece.endswith(("\n", " ")) for piece in pieces if not TEXTS[0].endswith(piece))


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    files = written(tmp_path, *TEXTS)
    made, again, other = Corpus(files, 1), Corpus(files, 1), Corpus(files, 2)
    assert epoch(made, 0) == epoch(again, 0)
    assert epoch(made, 3) == epoch(again, 3)
    assert epoch(made, 0) != epoch(made, 1)
    assert epoch(made, 0) != epoch(other, 0)


@pytest.mark.parametrize("every", [1, 3])
def test_rows_are_the_blocks_one_after_another(tmp_path: Path, every: int) -> None:
    """Every token is predicted once: a row begins with the last token of the one before."""
    made = Corpus(written(tmp_path, *TEXTS), seed=1)
    stream = Stream(made, encode, 37, StreamPosition(2), every=every)
    rows = [stream.row() for _ in range(40)]
    ids = [rows[0][0], *(token for row in rows for token in row[1:])]
    want = [
        token
        for n in range(2, 400, every)
        for piece in made.block(n)
        for token in encode(piece.text, piece.begins)
    ]
    assert ids == want[: len(ids)]
    assert all(len(row) == 38 for row in rows)
    assert all(row[0] == before[-1] for before, row in pairwise(rows))


def test_a_stream_goes_on_from_its_place(tmp_path: Path) -> None:
    made = Corpus(written(tmp_path, *TEXTS), seed=1)
    whole = Stream(made, encode, 37, StreamPosition(1), every=2)
    for _ in range(60):
        resumed = Stream(made, encode, 37, whole.place, every=2)
        assert resumed.row() == whole.row()
        assert resumed.place == whole.place


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    files = written(tmp_path, *TEXTS)
    before = Corpus(files, 1).digest
    assert Corpus(files, 2).digest == before
    Path(files[0]).write_text(TEXTS[0].replace("a", "b", 1))
    assert Corpus(files, 1).digest != before


def test_a_folder_is_its_texts(tmp_path: Path) -> None:
    files = written(tmp_path, *TEXTS)
    (tmp_path / "notes.md").write_text("no text")
    assert Corpus([str(tmp_path)], 1).digest == Corpus(files, 1).digest


def test_a_bad_text_is_one_error_before_anything_is_trained(tmp_path: Path) -> None:
    good = written(tmp_path, *TEXTS)
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"a" * 5000 + b"\xff" + b"a" * 5000)
    cut = tmp_path / "cut.bin"
    cut.write_bytes("日".encode()[:2])
    for name in (str(bad), str(cut)):
        with pytest.raises(EdgeError, match=f"{Path(name).name} cannot be read as UTF-8"):
            Corpus([*good, name], 1)
    with pytest.raises(EdgeError, match=r"nowhere\.txt cannot be read"):
        Corpus([str(tmp_path / "nowhere.txt")], 1)
    with pytest.raises(EdgeError, match="zero cannot be read"):
        Corpus(["/dev/zero"], 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgeError, match="holds no"):
        Corpus([str(tmp_path / "empty")], 1)
    with pytest.raises(EdgeError, match="there is no text in it"):
        Corpus(written(tmp_path, ""), 1)


def test_too_little_text_for_a_row_is_refused(tmp_path: Path) -> None:
    made = Corpus(written(tmp_path, "a few words"), 1)
    with pytest.raises(EdgeError, match="fewer tokens than a row of 100"):
        Stream(made, encode, 100, StreamPosition(0), every=1).row()
    nothing = Stream(made, lambda *_: [], 1, StreamPosition(0), every=1)
    with pytest.raises(EdgeError, match="fewer tokens"):
        nothing.row()


def test_a_text_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (file,) = written(tmp_path, TEXTS[0])
    made = Corpus([file], 1)
    Path(file).write_bytes(b"\xff" * 1000)
    with pytest.raises(EdgeError, match="cannot be read"):
        epoch(made, 0)


DOCUMENTS = ["one\ntwo", "é" * 90, "", "日本 " * 40, "x", "last"]


def json_lines(folder: Path) -> Path:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps({"text": text or "y", "n": 1}) + "\n" for text in DOCUMENTS))
    return file


def test_lines_of_json_are_documents(tmp_path: Path) -> None:
    """Each once an epoch, whole, wherever blocks are cut, some of which then hold none."""
    made = Corpus([str(json_lines(tmp_path))], 1)
    want = sorted((text or "y", True) for text in DOCUMENTS)
    for number in (0, 3):
        assert sorted(epoch(made, number)) == want
    assert made.blocks > len(DOCUMENTS)
    rows = Stream(made, encode, 50, StreamPosition(0), every=1)
    place = rows.place
    for _ in range(20):
        row = rows.row()
        assert Stream(made, encode, 50, place, every=1).row() == row
        place = rows.place


def packed(folder: Path, rows: list[list[int]], tokenizer: str = "mine") -> Path:
    file = folder / "data-00000.jsonl"
    file.write_text("".join(json.dumps({"tokens": row}) + "\n" for row in rows))
    (folder / "manifest.json").write_text(json.dumps({"tokenizer": tokenizer}))
    (folder / "rejected.jsonl").write_text('{"file": "a"}\n')
    return file


def test_rows_of_tokens_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [list(range(n, n + 30)) for n in range(0, 600, 30)]
    packed(tmp_path, rows)
    made = Corpus([str(tmp_path)], 1, lambda: "mine")
    ids = [one for place in range(made.blocks) for piece in made.block(place) for one in piece.ids]
    assert sorted(ids) == list(range(600))
    assert Stream(made, encode, 59, StreamPosition(0), every=1).row() == ids[:60]


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    file = packed(tmp_path, [[1, 2]])
    for tokenizer in (None, lambda: "another"):
        with pytest.raises(EdgeError, match="tokens of another tokenizer"):
            Corpus([str(tmp_path)], 1, tokenizer)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(EdgeError, match="tokens of another tokenizer"):
        Corpus([str(file)], 1, lambda: "mine")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("", "empty"),
        ('{"messages": []}', "no text `text` is missing"),
        ('{"tokens": [1, -1]}', "no tokens"),
        ('{"tokens": [true]}', "no tokens"),
        ('{"tokens": []}', "no tokens"),
        ('{"tokens": [99999999999]}', "no tokens"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(
        EdgeError, match=rf"a\.jsonl, at byte 17: a line is no text to train on: {why}"
    ):
        Corpus([str(file)], 1)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LONGEST", 100)
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "good"}\n{"text": "' + "a" * 100 + '"}\n')
    with pytest.raises(
        EdgeError, match=r"at byte 17 cannot be read as UTF-8 text: a line of more than"
    ):
        Corpus([str(file)], 1)
