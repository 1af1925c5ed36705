"""`edge plan` of a model on a hub: config and headers alone are transferred, and they are checked."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Edge
from hub import Hub, serving
from support import checkpoint, config_of, safetensors, tiny, weights_of, with_header

from edge.source import registry

MODEL = "some/model"
CONFIG = config_of("llama", vocab_size=5000)
WEIGHTS = weights_of(CONFIG)
WHOLE = safetensors(WEIGHTS)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WHOLE}
    with serving({**files, "tokenizer.json": b"{}", "pytorch_model.bin": bytes(1000)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def header_bytes(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def sharded(hub: Hub) -> None:
    """The same weights in two files with an index."""
    names = sorted(WEIGHTS)
    shards = {
        f"model-0000{i + 1}-of-00002.safetensors": {name: WEIGHTS[name] for name in names[i::2]}
        for i in (0, 1)
    }
    table = {name: file for file, part in shards.items() for name in part}
    del hub.files["model.safetensors"]
    hub.files |= {file: safetensors(part) for file, part in shards.items()}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": table}).encode()


def test_no_weight_is_transferred(hub: Hub, edge: Edge) -> None:
    result = edge("plan", MODEL, "--context", "32", "--json")
    assert result.code == 0, result.err
    assert hub.given["model.safetensors"] == header_bytes(WHOLE) < len(WHOLE) / 100
    assert set(hub.given) == {"", "config.json", "model.safetensors"}
    known = ("config.json", "model.safetensors", "tokenizer.json")
    assert result.json["download_bytes"] == sum(len(hub.files[name]) for name in known)
    assert (result.json["dtypes"], result.json["tensors"]) == (["F32"], 21)
    assert not Path(os.environ["EDGE_HOME"]).exists()


def test_every_shard_is_asked_for_its_header(hub: Hub, edge: Edge, tmp_path: Path) -> None:
    sharded(hub)
    result = edge("plan", MODEL, "--json")
    assert result.code == 0, result.err
    shards = [name for name in hub.files if name.startswith("model-")]
    assert {name: hub.given[name] for name in shards} == {
        name: header_bytes(hub.files[name]) for name in shards
    }
    here = tiny(tmp_path / "here", vocab_size=5000)
    alone = ("download_bytes", "machine_gbs", "bound_tps")
    ours, theirs = (
        {key: value for key, value in found.items() if key not in alone}
        for found in (edge("plan", here, "--json").json, result.json)
    )
    assert ours == theirs


TIED = config_of("llama", vocab_size=5000, tie_word_embeddings=True)
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.mark.parametrize(
    ("stored", "own"),
    [
        ({HEAD: WEIGHTS[EMBED]}, False),
        ({EMBED: WEIGHTS[EMBED], HEAD: WEIGHTS[EMBED]}, False),
        ({EMBED: WEIGHTS[EMBED], HEAD: WEIGHTS[HEAD]}, True),
        ({EMBED: WEIGHTS[EMBED], HEAD: WEIGHTS[EMBED].astype("f2")}, True),
    ],
    ids=["the head alone", "a repeat", "a head of its own", "a rounded head"],
)
def test_a_tied_head_is_planned_as_it_is_stored(
    hub: Hub, edge: Edge, tmp_path: Path, stored: dict[str, np.ndarray], own: bool
) -> None:
    """From a few kilobytes of both tensors, as from all of them on this machine."""
    weights = {name: w for name, w in WEIGHTS.items() if name not in (EMBED, HEAD)} | stored
    hub.files |= {
        "config.json": json.dumps(TIED).encode(),
        "model.safetensors": safetensors(weights),
    }
    result = edge("plan", MODEL, "--json")
    assert result.code == 0, result.err
    assert hub.given["model.safetensors"] < len(hub.files["model.safetensors"]) / 10
    here = edge("plan", checkpoint(tmp_path / "here", TIED, weights), "--json").json
    body = sum(w.size for name, w in weights.items() if name not in stored)
    for found in (result.json, here):
        assert found["parameters"] == body + (1 + own) * 5000 * 64


def test_a_single_file_comes_before_an_index(hub: Hub, edge: Edge) -> None:
    whole = hub.files["model.safetensors"]
    sharded(hub)
    hub.files["model.safetensors"] = whole
    assert edge("plan", MODEL, "--json").code == 0
    assert "model.safetensors" in hub.given
    assert not [name for name in hub.given if name.startswith("model-")]


def test_a_server_without_ranges_is_not_heard_to_its_end(hub: Hub, edge: Edge) -> None:
    big = config_of("llama", vocab_size=100_000)
    hub.files["config.json"] = json.dumps(big).encode()
    hub.files["model.safetensors"] = content = safetensors(weights_of(big))  # 51 MB
    hub.deaf = True
    result = edge("plan", MODEL, "--json")
    assert result.code == 0, result.err
    assert result.json["tensors"] == 21
    assert hub.given["model.safetensors"] < len(content) / 2


def test_weights_of_another_config_are_found_before_a_download(hub: Hub, edge: Edge) -> None:
    hub.files["config.json"] = json.dumps({**CONFIG, "intermediate_size": 128}).encode()
    result = edge("plan", MODEL)
    assert result.code == 4
    assert "has shape [96, 64], but config.json makes it [128, 64]" in result.err


@pytest.mark.parametrize(
    ("content", "words"),
    {
        "empty": (b"", "too short for a header"),
        "a lying length": (b"\xff" * 8, "its header claims"),
        "a cut file": (WHOLE[:-1], "cut off"),
        "no json": (with_header(b"\x80\x02}q\x00."), "malformed"),
    }.values(),
)
def test_a_header_that_lies(hub: Hub, edge: Edge, content: bytes, words: str) -> None:
    hub.files["model.safetensors"] = content
    result = edge("plan", MODEL)
    assert result.code == 4
    assert words in result.err
    assert "some/model/model.safetensors" in result.err


def test_an_index_that_lies(hub: Hub, edge: Edge) -> None:
    sharded(hub)
    del hub.files["model-00002-of-00002.safetensors"]
    assert "lacks model-00002-of-00002.safetensors" in edge("plan", MODEL).err
    table = {"weight_map": {"w": "../../etc/passwd.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(table).encode()
    result = edge("plan", MODEL)
    assert (result.code, "not a file beside it" in result.err) == (4, True)


def test_a_config_without_end_is_refused(
    hub: Hub, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.source.hub.LIMIT", 1000)
    hub.files["config.json"] += b" " * 1000
    assert "config.json is larger than" in edge("plan", MODEL).err


@pytest.mark.parametrize("field", ["gated", "closed"])
def test_a_gated_model_says_how_to_give_a_token(hub: Hub, edge: Edge, field: str) -> None:
    setattr(hub, field, True)
    result = edge("plan", MODEL)
    assert result.code == 2
    assert "HF_TOKEN" in result.err


def test_a_token_is_given(hub: Hub, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_mine")
    assert edge("plan", MODEL).code == 0
    assert hub.tokens == {"Bearer hf_of_mine"}


def test_a_model_of_the_registry(hub: Hub, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.Entry(id="it", family="llama", licence="MIT", context=64, source=MODEL)
    monkeypatch.setattr(registry, "entries", lambda: {"it": entry})
    told = edge("plan", "it").out
    assert "its 21 tensors are those of its config" in told
    assert "download" in told


def test_what_was_pulled_is_planned_from_here(hub: Hub, edge: Edge) -> None:
    assert edge("pull", MODEL).code == 0
    hub.given.clear()
    assert edge("plan", MODEL, "--json").json["download_bytes"] == 0
    assert not hub.given


def test_a_pinned_revision_is_the_one_that_is_planned(hub: Hub, edge: Edge) -> None:
    folder = Path(edge("pull", MODEL, "--json").json["path"])
    (folder / "config.json").unlink()
    hub.sha = "b" * 40
    assert "pinned revision" in edge("plan", MODEL).err


def test_an_integer_tensor_is_refused(hub: Hub, edge: Edge) -> None:
    some = {**WEIGHTS, "model.norm.weight": np.ones(64, np.int8)}
    hub.files["model.safetensors"] = safetensors(some)
    result = edge("plan", MODEL)
    assert (result.code, "quantized already" in result.err) == (3, True)
