"""`edge data`: what a user gives, sees and gets."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Edge
from engines import CHINESE, content, lines, prose, rejected, rows
from serving import served
from support import converted
from utterances import whistled

from edge.audio.wav import WavWriter
from edge.data.frame import on_ray, sources
from edge.data.utterances import Utterances
from edge.system.home import home
from edge.text.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so few bytes that there are several."""
    monkeypatch.setattr(sources, "PART", 900)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(
        lines([*(prose(seed) for seed in range(8)), b"{", prose(3), "short"])
    )
    (folder / "b.txt").write_text(CHINESE)
    return folder


def test_a_folder_is_made_and_counted(edge: Edge, source: Path, tmp_path: Path) -> None:
    done = edge("data", "text", source, "-o", tmp_path / "out", "--json", "--processes", "1")
    assert done.code == 0, done.err
    reasons = {"duplicates": {"same text": 1}, "quality": {"few words": 1}, "read": {"not JSON": 1}}
    found = done.json
    assert (found["read"], found["rows"], found["rejected"], found["reasons"]) == (
        12,
        9,
        3,
        reasons,
    )
    assert len(rows(tmp_path / "out")) == 9
    assert len(rejected(tmp_path / "out")) == 3
    plain = edge("data", "text", source, "-o", tmp_path / "again", "--processes", "2")
    assert plain.code == 0, plain.err
    assert "not JSON  1" in plain.out
    assert content(tmp_path / "again") == content(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["in3", "src"], "there is no engine 'in3'"),
        (["hierarchy", "src"], "there is no engine 'hierarchy'"),
        (["text", "nowhere"], "there is no file nowhere"),
        (["text", "src", "--set", "least_words"], "is not of the form NAME=VALUE"),
        (["text", "src", "--set", "words=3"], "has no setting 'words'"),
        (["text", "src", "--tokenizer", "nobody"], "nobody"),
        (["text", "src", "--model", "nobody"], "nobody"),
        (["text", "src", "--model", "ftp://host/v1"], "ftp://host/v1"),
        (["text", "src", "--ray", "auto"], "--ray auto is no address of a cluster"),
        (["text", "src", "--ray", "http://host:80"], "is no address of a cluster"),
        (
            ["text", "src", "--ray", "host:6379", "--processes", "2"],
            "a cluster has its own processes",
        ),
        (["text", "src", "--seed", "-1"], "--seed -1 is not a whole number"),
        (["text"], "data needs SOURCE"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_wrong_request_is_one_error_before_anything(
    edge: Edge, source: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], why: str
) -> None:
    monkeypatch.chdir(source.parent)
    done = edge("data", *words, "-o", "out")
    assert (done.code, done.out) == (2, ""), done.err
    assert why in done.err
    assert "Traceback" not in done.err
    assert {path.name for path in source.parent.iterdir()} <= {"src", "home"}


def test_help_has_examples(edge: Edge) -> None:
    told = edge("data", "--help").out
    assert "Example: edge data text books/ pages.jsonl -o clean" in told


def test_without_ray_a_cluster_is_refused(
    edge: Edge, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = edge("data", "text", source, "-o", source.parent / "out", "--ray", "127.0.0.1:6379")
    assert done.code == 3
    assert "edge-toolkit[data]" in done.err


def test_a_home_too_deep_for_ray_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ray#7945, verl#1120: there, it ended in the middle of a start."""
    pytest.importorskip("ray")
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / ("deep" * 20)))
    with pytest.raises(Exception, match="too long for Ray"):
        on_ray.Cluster("local")
    assert not home().exists()


def test_a_model_rates_alike_here_and_served(
    edge: Edge, source: Path, short_stories: Path, tmp_path: Path
) -> None:
    """The same artifact in this process, in two others, and behind `edge serve`."""
    artifact = converted(tmp_path / "judge", short_stories)
    words = [
        "data",
        "text",
        source,
        "--set",
        "least_rating=1",
        "--set",
        "rated_letters=300",
        "--json",
    ]
    with served(artifact) as (address, _):
        makers = {
            "here": ["--model", artifact, "--processes", "1"],
            "two": ["--model", artifact, "--processes", "2"],
            "served": ["--model", f"{address}/v1", "--processes", "1"],
        }
        for name, more in makers.items():
            done = edge(*words, "-o", tmp_path / name, *more)
            assert done.code == 0, done.err
    assert content(tmp_path / "two") == content(tmp_path / "here")
    assert rows(tmp_path / "served") == rows(tmp_path / "here")
    assert rejected(tmp_path / "served") == rejected(tmp_path / "here")
    found = [row["rating"] for row in rows(tmp_path / "here")]
    low = [row["detail"] for row in rejected(tmp_path / "here") if row["step"] == "rating"]
    assert len(found) + len(low) == 9
    assert all(1 <= rating <= 5 for rating in found)
    manifest = json.loads((tmp_path / "here/manifest.json").read_text())
    assert len(manifest["model"]) == 64


@pytest.mark.parametrize("begins", [False, True])
def test_rows_of_tokens_are_a_tokenizer_s(
    edge: Edge, source: Path, request: pytest.FixtureRequest, tmp_path: Path, begins: bool
) -> None:
    """Packed: of all documents one after another, each begun as the tokenizer begins one (datatrove#345)."""
    if begins:
        folder = request.getfixturevalue("assets") / "llm/stories-260k"
    else:
        folder = request.getfixturevalue("short_stories")
    words = ["data", "text", source, "--processes", "1"]
    assert edge(*words, "-o", tmp_path / "texts").code == 0
    options = ["--tokenizer", folder, "--set", "length=50", "--set", "shard=1KB", "--json"]
    found = edge(*words, "-o", tmp_path / "packed", *options).json
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.adds_bos == begins
    ids = [
        one
        for row in rows(tmp_path / "texts")
        for one in [tokenizer.bos_id] * begins + tokenizer.encode(row["text"], special=False)
    ]
    packed = [row["tokens"] for row in rows(tmp_path / "packed")]
    assert [one for row in packed for one in row] == ids[: len(ids) // 50 * 50]
    assert {len(row) for row in packed} == {50}
    assert found["tokens"] + found["left_tokens"] == len(ids)
    assert found["rows"] == len(ids) // 50
    assert found["files"] > 2


def test_recordings_become_speech_to_learn_from(edge: Edge, tmp_path: Path) -> None:
    ann = tmp_path / "src" / "ann"
    ann.mkdir(parents=True)
    for number in range(3):
        one = whistled(np.random.default_rng(number), "ann")
        with (ann / f"{number}.wav").open("wb") as file, WavWriter(file, 16_000) as writer:
            writer.write(one.samples)
        (ann / f"{number}.txt").write_text("Hi there.")
    (ann / "2.txt").unlink()
    told = ("data", "speech", tmp_path / "src", "-o", tmp_path / "out", "--set", "shortest=0.2")
    done = edge(*told, "--set", "held-out=bob,cy", "--set", "evenly=yes", "--json")
    assert done.code == 0, done.err
    assert (done.json["rows"], done.json["reasons"]) == (2, {"read": {"no text": 1}})
    found = Utterances(tmp_path / "out")
    assert (found[0].voice, found[0].text, found[0].exact) == ("ann", "Hi there.", False)
    wrong = edge("data", "speech", tmp_path / "src", "-o", tmp_path / "no", "--tokenizer", "x")
    assert wrong.code == 2
    assert not (tmp_path / "no").exists()
