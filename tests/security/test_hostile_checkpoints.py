"""Configs and tokenizers that lie, and how the command line says so. One error, and nothing left."""

import json
from pathlib import Path
from typing import Any

import pytest
from attack import attempt
from conftest import Edge
from support import (
    config_of,
    nothing_left,
    run,
    safetensors,
    tiny,
    weights_of,
)

from edge.errors import Damaged, EdgeError, Unsupported
from edge.source.checkpoint import Checkpoint

GOOD = safetensors(weights_of(config_of("llama")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hidden_size": -64}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": 64.0}, "hidden_size"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 10**30}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 1024}, "model.layers.10."),
        ({"num_hidden_layers": 1}, "model.layers.1."),
        ({"num_attention_heads": 3}, "heads"),
        ({"num_key_value_heads": 3}, "heads"),
        ({"num_key_value_heads": 8}, "heads"),
        ({"vocab_size": 98}, "model.embed_tokens.weight"),
        ({"vocab_size": None}, "vocab_size"),
        ({"intermediate_size": 95}, "gate_proj"),
        ({"intermediate_size": []}, "intermediate_size"),
        ({"head_dim": 1 << 23}, "q_proj"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_theta": float("inf")}, "rope_theta"),
        ({"rope_scaling": []}, "rope_scaling"),
        ({"rope_scaling": {"type": "llama3"}}, "factor"),
        ({"rope_scaling": {"type": 3}}, "type"),
        ({"partial_rotary_factor": 0.01}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 2.0}, "partial_rotary_factor"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
        ({"sliding_window": -1}, "sliding_window"),
        ({"sliding_window": "9"}, "sliding_window"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"tie_word_embeddings": True, "vocab_size": 1 << 23}, "embed_tokens"),
        ({"model_type": None}, "model_type"),
        ({"model_type": 7}, "model_type"),
        ({"eos_token_id": "two"}, "eos_token_id"),
        ({"eos_token_id": [1, None, {}]}, "eos_token_id"),
    ],
    ids=str,
)
def test_configs_that_lie(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    source = tiny(tmp_path / "source", "mistral")
    (source / "config.json").write_text(json.dumps(config_of("mistral", **change)))
    attempt(source, Damaged if "partial_rotary_factor" not in change else Unsupported, field)


def test_a_longrope_of_one_token(tmp_path: Path) -> None:
    """Its attention factor divides by the logarithm of the original context."""
    source = tiny(tmp_path / "source", "phi3")
    factors = [1.0] * 8
    scaling = {"type": "longrope", "short_factor": factors, "long_factor": factors}
    config = config_of("phi3", rope_scaling=scaling, original_max_position_embeddings=1)
    (source / "config.json").write_text(json.dumps(config))
    attempt(source, Damaged, "original_max_position_embeddings")


@pytest.mark.parametrize("kind", ["gpt2", "../llama", "llama\n", "LLAMA", "x" * 5000])
def test_an_unknown_architecture(tmp_path: Path, kind: str) -> None:
    source = tiny(tmp_path / "source")
    (source / "config.json").write_text(json.dumps(config_of("llama", model_type=kind)))
    attempt(source, Unsupported, "model_type", "phi3")


@pytest.mark.parametrize(
    "change",
    [
        {"num_query_heads": [4, 8]},
        {"num_kv_heads": [3, 3, 3]},
        {"ffn_multipliers": [0.5, 1.25, -2.0]},
        {"ffn_multipliers": [1e300]},
        {"num_transformer_layers": 2},
        {"head_dim": 15},
        {"ffn_with_glu": False},
        {"normalization_layer_name": "layer_norm"},
    ],
    ids=str,
)
def test_openelm_configs_that_lie(tmp_path: Path, change: dict[str, Any]) -> None:
    source = tiny(tmp_path / "source", "openelm")
    (source / "config.json").write_text(json.dumps(config_of("openelm", **change)))
    with pytest.raises(EdgeError) as caught:
        Checkpoint.open(source)
    assert caught.value.code in (3, 4)


# Tokenizers


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"model": {"type": "BPE"}}', b'{"model": {"type": "X"}}'],
    ids=["empty", "object", "list", "bytes", "bomb", "half", "unknown"],
)  # fmt: skip
def test_a_broken_tokenizer(tmp_path: Path, content: bytes) -> None:
    source = tiny(tmp_path / "source")
    (source / "tokenizer.json").write_bytes(content)
    attempt(source, Damaged, "tokenizer.json")


def test_a_tokenizer_cut_off(tmp_path: Path, assets: Path) -> None:
    source = tiny(tmp_path / "source")
    whole = (assets / "llm/stories-260k/tokenizer.json").read_bytes()
    (source / "tokenizer.json").write_bytes(whole[: len(whole) // 2])
    attempt(source, Damaged, "tokenizer.json")


def test_a_tokenizer_of_another_model(tmp_path: Path, assets: Path) -> None:
    source = tiny(tmp_path / "source")
    whole = (assets / "llm/stories-260k/tokenizer.json").read_bytes()
    (source / "tokenizer.json").write_bytes(whole)
    attempt(source, EdgeError, "511", "97")


@pytest.mark.parametrize(
    "name", ["tokenizer_config.json", "generation_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize("content", ["[", "[]", '{"bos_token": 7, "eos_token_id": "x"}'])
def test_broken_small_files(tmp_path: Path, name: str, content: str) -> None:
    source = tiny(tmp_path / "source")
    (source / name).write_text(content)
    attempt(source, Damaged, name)


# The command line: exit codes, no traceback


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("config.json", b"{", 4),
        ("config.json", json.dumps(config_of("llama", model_type="gpt2")).encode(), 3),
        ("model.safetensors", GOOD[:5000], 4),
        ("tokenizer.json", b"{}", 4),
    ],
    ids=["config", "architecture", "weights", "tokenizer"],
)
def test_exit_codes_of_convert(
    tmp_path: Path, edge: Edge, name: str, content: bytes, code: int
) -> None:
    source = tiny(tmp_path / "source")
    (source / name).write_bytes(content)
    done = edge("convert", source, "-o", tmp_path / "out", "--json")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("edge: ")
    assert "\n  fix: " in done.err
    assert "Traceback" not in done.err
    assert nothing_left(tmp_path / "out")


def test_a_process_of_its_own_shows_no_traceback(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(GOOD[:-1])
    done = run("convert", str(source), "-o", str(tmp_path / "out"), timeout=60)
    assert done.returncode == 4
    assert done.stdout == ""
    assert "cut off" in done.stderr
    assert "Traceback" not in done.stderr
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("convert", "no-such-model"), 2),
        (("convert", "."), 4),
        (("inspect", "no/such/place"), 2),
        (("verify", "no/such/place"), 2),
        (("run", "no-such-model"), 2),
        (("run", "no such model --json"), 2),
        (("bench", "no/such/place"), 2),
        (("convert",), 2),
        (("nonsense",), 2),
    ],
    ids=str,
)
def test_exit_codes_of_wrong_requests(
    tmp_path: Path, edge: Edge, args: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge.source.registry._HERE", tmp_path)  # no packaged model
    done = edge(*args)
    assert done.code == code
    assert "Traceback" not in done.err
