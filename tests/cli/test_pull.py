"""`edge pull` against a hub on this machine: pinned, checked, resumed, refused."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Edge
from hub import SHA, Hub, serving
from safetensors.numpy import load_file
from support import tiny
from towers import TOWERS
from towers.catlip import random

from edge.source import registry


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # The library writes, and so resumes, in pieces of 10 MB.
    source = tiny(tmp_path / "source", "llama", vocab_size=50_000)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    files |= {"modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"\x80"}
    with serving(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def source() -> str:
    return "some/model"


def test_a_pull_is_recorded_and_runs(hub: Hub, edge: Edge, source: str) -> None:
    result = edge("pull", source, "--json")
    assert result.code == 0, result.err
    assert result.json["revision"] == SHA
    folder = Path(result.json["path"])
    got = {path.name for path in folder.iterdir() if path.is_file()}
    assert got == {"config.json", "model.safetensors"}  # no code, no pickle
    content = hub.files["model.safetensors"]
    assert result.json["files"]["model.safetensors"] == hashlib.sha256(content).hexdigest()
    assert edge("inspect", folder).code == 0


def test_a_cut_download_goes_on_where_it_stopped(hub: Hub, edge: Edge, source: str) -> None:
    hub.cut_after = 12_000_000
    result = edge("pull", source, "--json")  # every answer is cut off: each goes a little further
    assert result.code == 0, result.err
    assert hub.ranges
    assert "bytes=0-" not in hub.ranges
    content = (Path(result.json["path"]) / "model.safetensors").read_bytes()
    assert content == hub.files["model.safetensors"]


def test_a_pinned_model_accepts_only_its_bytes(hub: Hub, edge: Edge, source: str) -> None:
    folder = Path(edge("pull", source, "--json").json["path"])
    (folder / "config.json").unlink()
    hub.files["config.json"] += b"\n"
    result = edge("pull", source)
    assert result.code == 4
    assert "config.json is not what was got before" in result.err


def test_a_new_revision_is_not_taken_unasked(hub: Hub, edge: Edge, source: str) -> None:
    edge("pull", source)
    hub.sha = "b" * 40
    # This hub knows one revision at a time: the pinned one is gone, and that is said.
    result = edge("pull", source)
    assert (result.code, "pinned revision" in result.err) == (2, True)
    assert edge("rm", source).code == 0
    assert edge("pull", source, "--json").json["revision"] == "b" * 40


def test_a_gated_model_says_how_to_give_a_token(hub: Hub, edge: Edge, source: str) -> None:
    hub.gated = True
    result = edge("pull", source)
    assert result.code == 2
    assert "HF_TOKEN" in result.err


def test_what_is_not_there_is_refused(hub: Hub, edge: Edge) -> None:
    assert "the hub has no" in edge("pull", "some/other").err
    assert "did you mean" in edge("pull", "phi-3-mini").err
    assert "ships with edge" in edge("pull", "edge-stories").err
    assert edge("rm", "../../etc").code == 2


def test_what_was_pulled_is_listed_by_the_name_of_the_registry(
    hub: Hub, edge: Edge, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.Entry(
        id="it", aliases=("that",), family="llama", licence="MIT", context=64, source=source
    )
    monkeypatch.setattr(registry, "entries", lambda: {"it": entry})
    folder = Path(edge("pull", "that", "--json").json["path"])
    assert folder.name == "it"
    (kept,) = (r for r in edge("list", "--json").json["models"] if r["kind"] == "checkpoint")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert kept == {
        "id": "it",
        "kind": "checkpoint",
        "source": source,
        "revision": SHA,
        "bytes": sum(sizes),
        "path": str(folder),
    }
    told = edge("list").out
    assert "CHECKPOINT" in told
    assert "25.9 MB" in told
    assert edge("rm", source).code == 0  # by its third name
    assert not folder.exists()
    assert "CHECKPOINT" not in edge("list").out


def test_a_download_that_was_cut_off_is_listed_as_such(hub: Hub, edge: Edge, source: str) -> None:
    folder = Path(edge("pull", source, "--json").json["path"])
    (folder.parent.parent / "models.lock").unlink()
    assert "not complete: pull it again" in edge("list").out


def test_a_file_of_weights_alone_becomes_a_checkpoint(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CatLIP's: the user gets the file; what is no such file is refused, and nothing is left."""
    torch = pytest.importorskip("torch")
    entry = registry.entries()["catlip-b"]
    said = edge("convert", "catlip-b")
    assert said.code == 2
    assert str(entry.url) in said.err
    assert "--file vit_base.pt" in said.err
    tiny_one = replace(entry, config=dict(TOWERS["catlip"].tiny))
    entries = {**registry.entries(), "catlip-b": tiny_one}
    monkeypatch.setattr(registry, "entries", lambda: entries)
    wrong, right = tmp_path / "wrong.pt", tmp_path / "vit_base.pt"
    torch.save({"a": torch.zeros(2)}, wrong)
    torch.save(random(TOWERS["catlip"].tiny), right)
    assert edge("pull", "catlip-b").code == 2
    for file, words in ((wrong, "does not match its config"), (tmp_path / "none.pt", "no file")):
        done = edge("pull", "catlip-b", "--file", file)
        assert done.code in (2, 4)
        assert words in done.err
        assert not tiny_one.here()
    done = edge("pull", "catlip-b", "--file", right, "--json")
    assert done.code == 0, done.err
    digest = hashlib.sha256(right.read_bytes()).hexdigest()
    assert done.json["files"] == {"pytorch_model.pt": digest}
    assert edge("inspect", done.json["path"], "--json").json["family"] == "catlip"
    again = edge("pull", "catlip-b", "--file", right)
    assert "here already" in again.err
    assert edge("pull", "phi-3-mini-4k", "--file", right).code == 2


def test_torch_files_are_pulled_where_there_is_nothing_else(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are read as data; a plan cannot list their tensors from afar, and says so."""
    torch = pytest.importorskip("torch")
    TOWERS["vit"].write(tmp_path / "source")
    weights = load_file(tmp_path / "source" / "model.safetensors")
    torch.save({name: torch.tensor(value) for name, value in weights.items()}, tmp_path / "weights")
    files = {
        "config.json": (tmp_path / "source" / "config.json").read_bytes(),
        "pytorch_model.bin": (tmp_path / "weights").read_bytes(),
        "modeling.py": b"raise SystemExit",
    }
    with serving(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        planned = edge("plan", "some/model")
        assert planned.code == 3
        assert "not told from afar" in planned.err
        done = edge("pull", "some/model", "--json")
        assert done.code == 0, done.err
        assert done.json["files"].keys() == {"config.json", "pytorch_model.bin"}
        out = tmp_path / "out"
        assert edge("convert", "some/model", "--to", "torch", "-o", out).code == 0
        assert edge("verify", out, "--against", "some/model").code == 0
