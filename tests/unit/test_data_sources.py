"""Files as records: every line is one or is named, wherever a file is cut; nothing that a file holds ends a run."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from engines import adds_up, lines, prose, rejected, rows, run
from hypothesis import given
from hypothesis import strategies as st

from edge.data.frame import arrow, sources
from edge.data.frame.sources import Source
from edge.data.frame.step import Row
from edge.errors import EdgeError, Unsupported

LONGEST = 1 << 20
GOOD = json.dumps({"text": "good", "id": 7}).encode()


def read(path: Path, *, size: int = 1 << 20, longest: int = LONGEST) -> list[tuple[int, Any]]:
    """Every record of a file as (line, data) or (line, reason)."""
    found = sources.survey(Source(path.name, path), size)
    out: list[tuple[int, Any]] = []
    for part in found.parts:
        for one in sources.records(part, longest):
            out.append(
                (one.line, one.data) if isinstance(one, Row) else (one[0].line, one[1].reason)
            )
    return out


def of(tmp_path: Path, content: bytes, name: str = "a.jsonl", **how: int) -> list[tuple[int, Any]]:
    file = tmp_path / name
    file.write_bytes(content)
    return read(file, **how)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{broken", "not JSON"),
        (b"", "empty"),
        (b"  \r", "empty"),
        (b'{"text": " \\n"}', "empty"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": "\\ud83d"}', "not UTF-8"),  # half of a surrogate pair
        (b'{"text": "a", "more": "\\uD83D"}', "not UTF-8"),
        (b'{"text": NaN}', "not JSON"),
        (b'{"text": "a", "x": Infinity}', "not JSON"),
        (b'["text"]', "no record"),
        (b'"text"', "no record"),
        (b'{"txt": "a"}', "no text"),
        (b'{"text": null}', "no text"),
        (b'{"text": 3}', "no text"),
        (b'{"text": "a"} {"text": "b"}', "not JSON"),
        (b'{"text": "a", "x": ' + b"[" * 101 + b"]" * 101 + b"}", "no record"),
        (b'{"text": "a", "x": ' + b"[" * 99_999 + b"]" * 99_999 + b"}", "not JSON"),
        (b'{"text": "a", "x": ' + b"9" * 5_000 + b"}", "not JSON"),
        (b'{"text": "' + b"a" * LONGEST + b'"}', "too long"),
    ],
    ids=lambda given: str(given)[:30],
)
def test_a_bad_line_is_named_and_the_others_are_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    """datatrove#78, graphrag#2424: there, a bad line took those after it along, or the whole file."""
    found = of(tmp_path, b"\n".join((GOOD, line, GOOD)))
    assert [line for line, _ in found] == [1, 2, 3]
    assert found[1] == (2, reason)
    assert found[0][1] == found[2][1] == {"text": "good", "id": 7}


def test_what_other_readers_stumble_over_is_read(tmp_path: Path) -> None:
    """A byte order mark, carriage returns, no last line end, separators of Unicode within a line (datalad#3523)."""
    odd = "a\u2028b\u0085c\x1dd😀"
    content = (
        b"\xef\xbb\xbf" + GOOD + b"\r\n" + json.dumps({"text": odd}, ensure_ascii=False).encode()
    )
    assert of(tmp_path, content) == [(1, {"text": "good", "id": 7}), (2, {"text": odd})]
    escaped = json.dumps({"text": "😀"}).encode()  # a whole pair of surrogates
    assert of(tmp_path, escaped) == [(1, {"text": "😀"})]
    assert of(tmp_path, b"") == []
    assert of(tmp_path, GOOD + b"\n" + GOOD[:9]) == [
        (1, {"text": "good", "id": 7}),
        (2, "not JSON"),
    ]


LINE = st.sampled_from(
    [GOOD, b"", b"{", b"\xff", b'{"text":"x"}', b'{"text":"' + b"y" * 300 + b'"}']
)


@given(st.lists(LINE, max_size=40), st.booleans(), st.integers(1, 700))
def test_every_line_is_accounted_for_wherever_a_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], ended: bool, size: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = b"\n".join(content) + (b"\n" if ended else b"")
    found = of(folder, whole, longest=200)
    assert [line for line, _ in found] == list(
        range(1, len(whole.split(b"\n")) + (not whole.endswith(b"\n") and bool(whole)))
    )
    assert of(folder, whole, size=size, longest=200) == found
    parts = sources.survey(Source("a", folder / "a.jsonl"), size).parts
    assert b"".join(whole[part.begin : part.end] for part in parts) == whole
    assert all(part.size >= size for part in parts[:-1])


def test_lines_longer_than_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK", 7)
    texts = ["a" * 40, "b", "中" * 21]  # whose bytes lie in two pieces (obelisk#29)
    assert [data["text"] for _, data in of(tmp_path, lines(texts))] == texts
    assert [kind for _, kind in of(tmp_path, lines(texts), longest=30)] == [
        "too long",
        {"text": "b"},
        "too long",
    ]
    assert of(tmp_path, lines(texts), size=30) == of(tmp_path, lines(texts))


@pytest.mark.parametrize("chunk", [7, 16, 1 << 20])
def test_parts_end_with_the_first_line_that_fills_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(sources, "_CHUNK", chunk)
    (tmp_path / "a.jsonl").write_bytes(b"123456789\n" * 50 + b"end")
    parts = sources.survey(Source("a", tmp_path / "a.jsonl"), 35).parts
    assert [part.size for part in parts] == [40] * 12 + [23]
    assert [part.line for part in parts] == list(range(1, 52, 4))


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT"])
def test_a_text_file_is_one_record(tmp_path: Path, name: str) -> None:
    assert of(tmp_path, b"\xef\xbb\xbfa\r\nb\n", name) == [(1, {"text": "a\r\nb\n"})]
    assert of(tmp_path, b" \n", name) == [(1, "empty")]
    assert of(tmp_path, "a".encode("utf-16"), name) == [(1, "not UTF-8")]
    assert of(tmp_path, b"a" * 101, name, longest=100) == [(1, "too long")]


def test_what_is_packed_is_unpacked_as_it_is_read(tmp_path: Path) -> None:
    content = lines([prose(seed) for seed in range(50)] + [b"{"])
    plain = of(tmp_path, content)
    packed = gzip.compress(content)
    assert of(tmp_path, packed, "a.jsonl.gz") == plain
    assert (
        of(tmp_path, gzip.compress(content[:900]) + gzip.compress(content[900:]), "a.jsonl.gz")
        == plain
    )
    assert of(tmp_path, gzip.compress(b"a" * 10_000), "a.jsonl.gz", longest=100) == [
        (1, "too long")
    ]
    assert of(tmp_path, b"no gzip", "a.jsonl.gz") == [(1, "cut off")]


def test_a_packed_file_that_is_cut_off_gives_what_lies_before(tmp_path: Path) -> None:
    """duplodocus#5: there, one panicked and all stopped."""
    texts = ["".join(map(chr, os.urandom(400))) for _ in range(400)]
    content = lines(texts)
    pyarrow = pytest.importorskip("pyarrow")
    for name, packed in (
        ("a.jsonl.gz", gzip.compress(content)),
        ("a.jsonl.zst", pyarrow.compress(content, codec="zstd", asbytes=True)),
    ):
        assert [data["text"] for _, data in of(tmp_path, packed, name)] == texts
        found = of(tmp_path, packed[: len(packed) // 2], name)
        *kept, last = found
        assert last[1] == "cut off"
        assert [data["text"] for _, data in kept] == texts[: len(kept)]
        assert len(kept) > 10


def test_tables_of_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(
        {
            "text": ["one", None, "", "four", "f" * 300],
            "score": [0.5, float("nan"), 1.0, 2.0, 3.0],
            "when": [None] * 5,
            "raw": [b"\xff"] * 5,
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", longest=200)
    assert found == [
        (1, {"text": "one", "score": 0.5}),
        (2, "no text"),
        (3, "empty"),
        (4, {"text": "four", "score": 2.0}),
        (5, "too long"),
    ]
    whole = (tmp_path / "a.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-9], whole[: len(whole) // 2]):
        assert of(tmp_path, content, "a.parquet") == [(1, "cut off")]
    parquet.write_table(pyarrow.table({"body": ["a"]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [(1, "no text")]


def test_files_are_found_by_name_and_named_alike_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/10.txt", "a.jsonl", "b/c/x.MD", "picture.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("x")
    names = [source.name for source in sources.find([str(tmp_path / "data")])]
    assert names == ["a.jsonl", "b/10.txt", "b/2.txt", "b/c/x.MD"]
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert [source.name for source in sources.find([str(tmp_path / "elsewhere")])] == names
    two = sources.find([str(tmp_path / "elsewhere/b/2.txt"), str(tmp_path / "elsewhere/a.jsonl")])
    assert [source.name for source in two] == ["b/2.txt", "a.jsonl"]  # in the order given


def test_a_link_that_leads_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("s")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "data" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "data" / ".out.partial").mkdir()  # of a run beside
    (tmp_path / "data" / ".out.partial" / "data-00000.jsonl").write_text("{}")
    assert [source.name for source in sources.find([str(tmp_path / "data")])] == ["a.txt"]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["nowhere.txt"], "there is no file"),
        (["picture.png"], "of no kind that is read"),
        (["empty"], "holds no file of"),
        (["a.txt", "a.txt"], "named twice"),
        (["a.txt", "./a.txt"], "named twice"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused_before_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(prose(0))
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgeError, match=why):
        run([Path(name) for name in names], tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "picture.png", "empty"}


def test_a_device_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="there is no file"):
        run([Path("/dev/zero")], tmp_path / "out")


def test_without_pyarrow_its_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "there", lambda: False)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(Unsupported, match=r"needs the package pyarrow"):
        sources.find([str(tmp_path / "a.parquet")])


def test_a_source_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for name in ("a.jsonl", "a.jsonl.gz", "a.txt"):
        file = tmp_path / name
        file.write_bytes(lines(["a", "b"]))
        (part,) = sources.survey(Source(name, file), 1 << 20).parts
        file.write_bytes(lines(["a", "c"]))
        with pytest.raises(EdgeError, match="changed while it was read"):
            list(sources.records(part, LONGEST))


def test_a_folder_of_all_kinds(tmp_path: Path) -> None:
    texts = [prose(seed) for seed in range(6)]
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.txt").write_text(texts[0])
    (source / "b.jsonl").write_bytes(lines([texts[1], b"{", b"", texts[2]]))
    (source / "c.jsonl.gz").write_bytes(gzip.compress(lines([texts[3]]))[:-9])
    (source / "d.md").write_bytes(b"\xff\xfe")
    report = run([source], tmp_path / "out")
    assert [row["text"] for row in rows(tmp_path / "out")] == texts[:4]
    named = [(row["file"], row["line"], row["reason"]) for row in rejected(tmp_path / "out")]
    assert named == [
        ("b.jsonl", 2, "not JSON"),
        ("b.jsonl", 3, "empty"),
        ("c.jsonl.gz", 2, "cut off"),
        ("d.md", 1, "not UTF-8"),
    ]
    assert adds_up(report)
    assert (report["read"], report["rejected"], report["rows"]) == (8, 4, 4)
