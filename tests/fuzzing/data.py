"""What data engines and trainers read: lines of JSON, packed ones, tables."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edge.audio.wav import WavWriter

Seeds = Callable[[], Sequence[bytes]]
Read = Callable[[Path, bytes], None]
WORDS = (b"\n", b'{"text": "', b"\\ud83d", b"NaN", b"[" * 500, b"\xff", b"null", b"9" * 5000)


def lines() -> Sequence[bytes]:
    from engines import CHINESE, prose

    rows = [
        {"text": prose(1)},
        {"text": CHINESE, "id": 3, "more": {"a": [1.5, None, "é"]}},
        {"text": "😀"},
    ]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def packed() -> Sequence[bytes]:
    return [gzip.compress(content, mtime=0) for content in lines()]


def tables() -> Sequence[bytes]:
    import pyarrow
    from pyarrow import parquet

    rows = [json.loads(line) for line in lines()[0].splitlines()]
    found = []
    for compression in ("none", "zstd", "snappy"):
        file = io.BytesIO()
        table = pyarrow.table(
            {"text": [row["text"] for row in rows], "id": [1, None, 3], "x": [0.5, 1.0, None]}
        )
        parquet.write_table(table, file, compression=compression)
        found.append(file.getvalue())
    return found


def tokens() -> Sequence[bytes]:
    return [b'{"tokens": [1, 2, 3]}\n{"text": "a"}\n{"tokens": [4]}\n']


def chats() -> Sequence[bytes]:
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi 🙂"},
        {"role": "assistant", "content": "Hello!", "weight": 1},
    ]
    share = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    rows = [{"messages": said}, {"conversations": share}, {"messages": said[1:] * 2}]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def pairs() -> Sequence[bytes]:
    (first,) = chats()
    messages = json.loads(first.splitlines()[0])["messages"]
    other = [*messages[:2], {"role": "assistant", "content": "No."}]
    rows = [
        {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
        {"messages": messages, "chosen": messages[1:], "rejected": other},
        {"chosen": messages, "rejected": other},
    ]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def read_chats(folder: Path, content: bytes) -> None:
    from edge.data.chats import conversation

    _talks(folder / "a.jsonl", content, conversation)


def read_pairs(folder: Path, content: bytes) -> None:
    from edge.data.chats import pair

    _talks(folder / "a.jsonl", content, pair)


def _talks(file: Path, content: bytes, parse: Callable[..., Sequence[object]]) -> None:
    """Rows whose ids and marks are of one length, and of which something counts."""
    from edge.data import talks
    from edge.source import registry
    from edge.text.chat import ChatTemplate
    from edge.text.tokenizer import Tokenizer

    file.write_bytes(content)
    folder = registry.entries()[registry.DEFAULT].checkpoint()
    template = ChatTemplate.load(folder)
    assert template is not None
    reader = talks.Reader(parse, Tokenizer.load(folder), template)  # type: ignore[arg-type]
    made = reader.read([str(file)], length=64, longer="cut")
    for row in (row for item in made.items for row in item):
        assert len(row.ids) == len(row.counted) <= 65
        assert row.counted.any()
        assert not row.counted[0]


def read_lines(folder: Path, content: bytes) -> None:
    _read(folder / "a.jsonl", content)


def read_packed(folder: Path, content: bytes) -> None:
    _read(folder / "a.jsonl.gz", content)


def read_table(folder: Path, content: bytes) -> None:
    _read(folder / "a.parquet", content)


def _read(file: Path, content: bytes) -> None:
    """Records in parts, and what each row becomes; where some are rejected, that is the refusal."""
    from edge.data.engines.text import Settings, steps
    from edge.data.frame import sources
    from edge.data.frame.places import packed as stored
    from edge.data.frame.places import unpacked
    from edge.data.frame.step import Dropped, Each, Means, Row, through
    from edge.errors import EdgeError

    file.write_bytes(content)
    some = tuple(step for step in steps(Settings(c4=True), Means()) if isinstance(step, Each))
    wrong = []
    for part in sources.survey(sources.Source(file.name, file), 64).parts:
        for found in sources.records(part, 1 << 16):
            if isinstance(found, Row):
                assert unpacked(stored(found)) == found
                wrong += [one for one in through(some, found, 0) if isinstance(one, Dropped)]
            else:
                wrong.append(found)
    if wrong:
        raise EdgeError(f"{len(wrong)} rejected", fix="")


_HEARD = 20
TIMED = [["^", 0.1], ["h", 0.2], ["ˈaɪ", 0.9], [".", 1.2]]


def recordings() -> Sequence[bytes]:
    _prepared()  # before it is guarded which files are touched
    rows = [
        {"audio": "1.wav", "text": "Hi.", "voice": "ann", "times": TIMED},
        {"audio": "1.wav", "text": "No.", "voice": "bob"},
    ]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def metadata() -> Sequence[bytes]:
    _prepared()
    return [b'1|Hi "you|Hi you.\n1|Hi.\n2|Nobody.\n']


def times() -> Sequence[bytes]:
    _prepared()
    return [json.dumps(TIMED).encode()]


def utterances() -> Sequence[bytes]:
    """The rows of a folder, whose sound stays as it is."""
    return [_prepared()[0]]


@cache
def _prepared() -> tuple[bytes, bytes]:
    """Rows and their sound."""
    from utterances import prepared

    with tempfile.TemporaryDirectory() as made:
        files = [prepared(Path(made), each=2) / f"data-00000.{kind}" for kind in ("jsonl", "i16")]
        return files[0].read_bytes(), files[1].read_bytes()


def read_utterances(folder: Path, content: bytes) -> None:
    """Rows whose durations are those of their sound."""
    from edge.data.utterances import HOP, Utterances

    (folder / "data-00000.i16").write_bytes(_prepared()[1])
    (folder / "data-00000.jsonl").write_bytes(content)
    found = Utterances(folder)
    for number in range(len(found)):
        one = found[number]
        assert one.samples.size == HOP * one.frames.sum() == HOP * one.hertz.size
        assert one.symbols.size == one.frames.size


def read_recordings(folder: Path, content: bytes) -> None:
    _recorded(folder, "a.jsonl", content)


def read_metadata(folder: Path, content: bytes) -> None:
    _recorded(folder, "metadata.csv", content)


def read_times(folder: Path, content: bytes) -> None:
    _recorded(folder, "1.times.json", content, of="1.wav")


def _recorded(folder: Path, name: str, content: bytes, of: str = "") -> None:
    """Every record, and what some become; where some are rejected, that is the refusal."""
    from edge.data.engines.speech import Settings, steps
    from edge.data.frame import sources
    from edge.data.frame.step import Dropped, Each, Means, Row, through
    from edge.data.recordings import LINES, TABLE, records
    from edge.errors import EdgeError

    for place in (folder, folder / "wavs"):
        place.mkdir(exist_ok=True)
        with (place / "1.wav").open("wb") as file, WavWriter(file, 16_000) as writer:
            writer.write(np.frombuffer(_prepared()[1], "<i2")[:16_000] / np.float32(32768))
    (folder / "1.txt").write_text("Hi.")
    (folder / name).write_bytes(content)
    some = tuple(step for step in steps(Settings(evenly=True), Means()) if isinstance(step, Each))
    wrong = []
    source = sources.Source(of or name, folder / (of or name))
    for part in sources.survey(source, 64, (LINES, TABLE)).parts:
        for found in records(part, 1 << 16):
            if not isinstance(found, Row):
                wrong.append(found)
            elif found.line < _HEARD:  # which takes a tenth of a second each
                wrong += [one for one in through(some, found, 0) if isinstance(one, Dropped)]
    if wrong:
        raise EdgeError(f"{len(wrong)} rejected", fix="")


def read_tokens(folder: Path, content: bytes) -> None:
    from edge.data.corpus import Corpus, Stream, StreamPosition

    (folder / "a.jsonl").write_bytes(content)
    (folder / "manifest.json").write_text('{"tokenizer": "it"}')
    corpus = Corpus([str(folder / "a.jsonl")], 0, lambda: "it")
    Stream(corpus, lambda text, _: list(text.encode()), 3, StreamPosition(0), every=1).row()


def readers() -> dict[str, tuple[str, Seeds, Read]]:
    """By name: how they are mutated, from what, and by whom they are read."""
    some: dict[str, tuple[str, Seeds, Read]] = {
        "lines": ("text", lines, read_lines),
        "lines packed": ("bytes", packed, read_packed),
        "rows of tokens": ("text", tokens, read_tokens),
        "chats": ("text", chats, read_chats),
        "pairs": ("text", pairs, read_pairs),
        "prepared speech": ("text", utterances, read_utterances),
        "lines of recordings": ("text", recordings, read_recordings),
        "metadata.csv": ("text", metadata, read_metadata),
        "times": ("text", times, read_times),
    }
    return some | ({"table": ("bytes", tables, read_table)} if find_spec("pyarrow") else {})
