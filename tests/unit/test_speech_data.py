"""The engine `speech`: folders as others lay them out become rows of symbols, durations, pitch and sound; what
cannot is named.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import adds_up, content, rejected, run, stopped

from edge.audio.wav import WavWriter
from edge.data.engines import speech
from edge.data.frame.crew import Processes
from edge.data.recordings import READING
from edge.data.utterances import Utterances
from edge.errors import EdgeError
from edge.text.spoken.symbols import table

RATE = 22_050


def wav(file: Path, seconds: float = 1.0, rate: int = RATE, hertz: float = 150.0) -> None:
    """A buzz of a voice's height, with a tenth of a second of silence at each end."""
    at = np.arange(int(seconds * rate)) / rate
    sound = 0.3 * sum(np.sin(2 * np.pi * hertz * k * at) / k for k in range(1, 12))
    file.parent.mkdir(parents=True, exist_ok=True)
    silence = np.zeros(rate // 10, np.float32)
    with file.open("wb") as stream, WavWriter(stream, rate) as writer:
        writer.write(np.concatenate([silence, sound.astype(np.float32) / 2, silence]))


def spoken(folder: Path, name: str, text: str, times: Any = None, **sound: Any) -> Path:
    file = folder / f"{name}.wav"
    wav(file, **sound)
    file.with_suffix(".normalized.txt").write_text(text)
    if times is not None:
        file.with_suffix(".times.json").write_text(json.dumps(times))
    return file


TIMES = [["^", 0.1], ["h", 0.2], ["ˈaɪ", 0.9], [",", 0.9], ["ð", 1.0], ["ɛ", 1.1], [".", 1.2]]


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    """As LibriTTS is laid out: two speakers, three chapters. What is read is the normalized text (HierSpeechpp#49)."""
    root = tmp_path / "LibriTTS" / "dev-clean"
    for speaker, chapter, count in (("103", "1240", 2), ("103", "1241", 1), ("87", "5", 2)):
        for number in range(count):
            name = f"{speaker}_{chapter}_{number:06}_000000"
            spoken(root / speaker / chapter, name, "Hi, there.", TIMES, hertz=100 + int(speaker))
            (root / speaker / chapter / f"{name}.original.txt").write_text("HI")
    return root


def symbols(row: Any) -> list[str]:
    return [table().symbols[at] for at in row.symbols]


def test_a_libritts_folder(libri: Path, tmp_path: Path) -> None:
    report = run([libri], tmp_path / "out", engine="speech")
    assert (report["read"], report["kept"], report["rejected"]) == (5, 5, 0)
    assert adds_up(report)
    read = Utterances(tmp_path / "out")
    assert read.voices == ["103", "103", "103", "87", "87"]
    row = read[3]
    assert row.text == "Hi, there."
    assert symbols(row) == [symbol for symbol, _ in TIMES]
    # 50 ms of the silence at each end stay (Real-Time-Voice-Cloning#501), and are START's and the last mark's.
    assert row.frames[1:-1].tolist() == [8, 56, 0, 8, 8]
    assert all(4 <= frames <= 6 for frames in row.frames[[0, -1]])
    voiced = row.hertz[row.hertz > 0]
    assert abs(np.median(voiced) - 187) < 2
    assert len(voiced) > 60
    assert np.abs(row.samples).max() == pytest.approx(0.7, abs=0.01)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert set(manifest["files"]) == {"data-00000.jsonl", "data-00000.i16", "rejected.jsonl"}
    assert manifest["files"]["data-00000.i16"]["bytes"] == 2 * 201 * int(read.lengths.sum())


def test_sound_lies_beside_its_own_rows(libri: Path, tmp_path: Path) -> None:
    run([libri], tmp_path / "one", engine="speech")
    report = run([libri], tmp_path / "out", engine="speech", shard="80kB")
    assert report["files"] == 3
    one, several = Utterances(tmp_path / "one"), Utterances(tmp_path / "out")
    assert len(several) == len(one)
    for i in range(len(one)):
        np.testing.assert_array_equal(several[i].samples, one[i].samples)
    sizes = [file.stat().st_size for file in (tmp_path / "out").glob("data-*")]
    assert len(sizes) == 6
    assert sum(sizes) == report["bytes"]


def test_the_same_bytes_whoever_computes_them(libri: Path, tmp_path: Path) -> None:
    run([libri], tmp_path / "one", engine="speech", shard="80kB")
    run([libri], tmp_path / "two", engine="speech", shard="80kB", crew=Processes(2))
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_run_that_was_stopped_comes_to_the_same_bytes(
    libri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "ENGINE", replace(speech.ENGINE, reading=replace(READING, part=1)))
    run([libri], tmp_path / "one", engine="speech", shard="80kB")
    stopped(libri, tmp_path / "two", 2, engine="speech", shard="80kB")
    run([libri], tmp_path / "two", engine="speech", shard="80kB", resume=True)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_voices_and_texts_are_held_out(libri: Path, tmp_path: Path) -> None:
    for number in range(40):
        name = f"103_1242_{number:06}_000000"
        spoken(libri / "103" / "1242", name, f"Hi there {number}.", TIMES)
    options = {"held-out": "87, 99", "held-texts": "0.25"}
    run([libri], tmp_path / "out", engine="speech", **options)
    assert set(Utterances(tmp_path / "out", "voice").voices) == {"87"}
    texts = Utterances(tmp_path / "out", "text")
    assert set(texts.voices) == {"103"}
    assert 3 <= len(texts) <= 20
    assert len(texts) + len(Utterances(tmp_path / "out")) == 43
    said = {texts[i].text for i in range(len(texts))}
    assert said.isdisjoint(Utterances(tmp_path / "out")[i].text for i in range(43 - len(texts)))


def why(folder: Path) -> list[tuple[str, int, str, str]]:
    keys = ("file", "line", "step", "reason")
    return [tuple(row[key] for key in keys) for row in rejected(folder)]  # type: ignore[misc]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    root, ann = tmp_path / "src", tmp_path / "src" / "ann"
    spoken(ann, "a", "Hi, there.", TIMES)
    wav(ann / "b.wav")  # no text
    spoken(ann, "c", "  ", TIMES)
    spoken(ann, "d", "Hi.", TIMES).write_bytes(b"RIFF")
    spoken(ann, "e", "Hi.", TIMES).write_bytes(b"")
    spoken(ann, "f", "Hi.", [["^", 0.1], ["q", 0.5], [".", 1]])
    spoken(ann, "g", "Hi.", [["h", 0.1], [".", 1]])
    spoken(ann, "h", "Hi.", [["^", 0.5], ["h", 0.1], [".", 1]])
    spoken(ann, "i", "Hi.", [["^", 0.5], ["h", 9.5], [".", 9.9]])
    spoken(ann, "j", "Hi.", [["^", 0.1], *[["h", 0.11]] * 200, [".", 1]])
    spoken(ann, "k", "Hi.", [["^", 0.1], ["h", 0.2], [".", 0.3]], seconds=0.2)
    spoken(ann, "l", "Hi.", TIMES, seconds=3.2)
    spoken(ann, "m", "Hi.")  # nobody knows its times
    spoken(ann, "n", "Hi.", "soon")
    (ann / "o.normalized.txt").write_bytes(b"caf\xe9")
    wav(ann / "o.wav")
    report = run([root], tmp_path / "out", engine="speech", longest="3")
    assert why(tmp_path / "out") == [
        ("b.wav", 1, "read", "no text"),
        ("c.wav", 1, "read", "empty"),
        ("d.wav", 1, "sound", "unreadable sound"),
        ("e.wav", 1, "sound", "unreadable sound"),
        ("f.wav", 1, "symbols", "no symbols"),
        ("g.wav", 1, "symbols", "no symbols"),
        ("h.wav", 1, "read", "no times"),
        ("i.wav", 1, "sound", "no times"),
        ("j.wav", 1, "durations", "too fast"),
        ("k.wav", 1, "sound", "too short"),
        ("l.wav", 1, "sound", "too long"),
        ("m.wav", 1, "durations", "no times"),
        ("n.wav", 1, "read", "no times"),
        ("o.wav", 1, "read", "not UTF-8"),
    ]
    assert adds_up(report)
    assert Utterances(tmp_path / "out").voices == ["ann"]


def test_an_ljspeech_folder(tmp_path: Path) -> None:
    """What is read aloud is the last column; a quote in it ends nothing (piper#147), a mark of the encoding before the
    first line is none of its name (piper#418), and a name may be a file's (piper#721).
    """
    root = tmp_path / "LJSpeech-1.1"
    for name in ("LJ001-0001", "LJ001-0002", "LJ001-0004"):
        wav(root / "wavs" / f"{name}.wav")
    rows = [
        '\ufeffLJ001-0001|He paid $2 "now|He paid two dollars "now.',
        "LJ001-0002|Hi.",
        "LJ001-0003|Nobody recorded this.|Nobody recorded this.",
        "LJ001-0004",
        "LJ001-0001|a|b|c",
        "../../LJ001-0001|Out of the folder.",
        "wavs/LJ001-0004.wav|Hi.",
        "LJ001-0004.wav|Hi.",
        f"{'a' * 5000}|A name that no file can have.",
        "a\0b|Nor this.",
    ]
    (root / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    report = run([root], tmp_path / "out", engine="speech", evenly="yes")
    read = Utterances(tmp_path / "out")
    assert [read[i].text for i in range(len(read))] == [
        'He paid two dollars "now.',
        *["Hi."] * 3,
    ]
    assert set(read.voices) == {"LJSpeech-1.1"}
    assert symbols(read[1]) == ["^", "h", "ˈaɪ", "."]
    assert [(line, reason) for _, line, _, reason in why(tmp_path / "out")] == [
        (3, "no sound"),
        (4, "no text"),
        (5, "no text"),
        (6, "no sound"),
        (9, "no sound"),
        (10, "no sound"),
    ]
    assert report["read"] == 10


def test_lines_of_json(tmp_path: Path) -> None:
    wav(tmp_path / "set" / "clips" / "1.wav", rate=48_000)
    wav(tmp_path / "elsewhere.wav")
    rows: list[Any] = [
        {"audio": "clips/1.wav", "text": "Hi.", "voice": "ann", "times": TIMES},
        {"audio": "clips/1.wav", "text": "15.09.2021", "voice": "bob"},  # whisperX#98
        {"audio": "../elsewhere.wav", "text": "Hi.", "voice": "ann"},
        {"audio": str(tmp_path / "elsewhere.wav"), "text": "Hi.", "voice": "ann"},
        {"audio": "clips/2.wav", "text": "Hi.", "voice": "ann"},
        {"audio": 3, "text": "Hi.", "voice": "ann"},
        {"audio": "clips/1.wav", "text": "Hi.", "voice": " "},
        {"audio": "clips/1.wav", "text": "Hi.", "voice": "ann", "times": [["^", True], ["h", 1]]},
        {"audio": "clips/1.wav", "text": "Hi.", "voice": "ann", "times": [["^", 1e999], ["h", 1]]},
        {"audio": "clips/1.wav", "text": "Привет", "voice": "ann"},
        {"audio": "clips/1.wav", "text": "Hi, Привет.", "voice": "ann"},
        {"audio": "clips/1.wav", "text": "Hi, " * 200, "voice": "ann"},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "set" / "all.jsonl").write_text("\n".join(lines) + "\n{\n")
    run([tmp_path / "set"], tmp_path / "out", engine="speech", evenly="yes")
    assert Utterances(tmp_path / "out").voices == ["ann", "bob"]
    assert [(line, reason) for _, line, _, reason in why(tmp_path / "out")] == [
        (3, "no sound"),
        (4, "no sound"),
        (5, "no sound"),
        (6, "no record"),
        (7, "no record"),
        (8, "no times"),
        (9, "not JSON"),
        (10, "nothing to say"),
        (11, "other scripts"),
        (12, "too fast"),
        (13, "not JSON"),
    ]


def test_a_librispeech_folder(tmp_path: Path) -> None:
    folder = tmp_path / "LibriSpeech" / "test-clean" / "1089" / "134686"
    for number in range(2):
        wav(folder / f"1089-134686-000{number}.wav", rate=16_000)
    (folder / "1089-134686.trans.txt").write_text("1089-134686-0000 HI THERE\n")
    run([tmp_path / "LibriSpeech"], tmp_path / "out", engine="speech", evenly="yes")
    read = Utterances(tmp_path / "out")
    assert (read.voices, read[0].text) == (["1089"], "HI THERE")
    assert why(tmp_path / "out")[0][-1] == "no text"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shortest": "5", "longest": "3"}, "the shortest is longer"),
        ({"least-fit": "-1"}, "nothing without --model"),
        ({"held-out": "a", "held_out": "b"}, "given twice"),
        ({"longest": "100"}, "from 0.1 to 51.2"),
        ({"held-texts": "2"}, "from 0 to 1"),
    ],
)
def test_refuses_settings_before_anything_is_read(
    tmp_path: Path, options: dict[str, str], says: str
) -> None:
    with pytest.raises(EdgeError, match=says):
        run([tmp_path / "nothing"], tmp_path / "out", engine="speech", **options)
    assert not any(tmp_path.iterdir())


def test_refuses_a_folder_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hi.")
    with pytest.raises(EdgeError, match=r"holds no file of \.wav, \.flac"):
        run([tmp_path], tmp_path / "out", engine="speech")
