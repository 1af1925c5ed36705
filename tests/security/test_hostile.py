"""Damaged, truncated and hostile input: one clear error, soon, with its exit code, and nothing left behind."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import Change, give_tokenizer, refused, rewrite
from conftest import Edge
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import (
    checkpoint,
    config_of,
    converted,
    nothing_left,
    run,
    safetensors,
    tiny,
    weights_of,
    with_header,
)

from edge import api
from edge.artifact import MANIFEST, Artifact
from edge.checkpoint import Checkpoint
from edge.convert import Options, convert
from edge.errors import Damaged, EdgeError, Unsupported
from edge.inspection import inspect
from edge.safetensors import SafetensorsFile

GOOD = safetensors(weights_of(config_of("llama")))


def attempt(source: Path, kind: type[EdgeError], *words: str) -> None:
    """Conversion is refused, and leaves nothing."""
    out = source.parent / "out"
    with refused(kind, *words):
        convert(source, out, Options())
    assert nothing_left(out)


# Weights


def header(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def tensor(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}


DATA = b"\0" * 16
LYING = {
    "empty": b"",
    "short": b"\1\2\3",
    "only a length": (8).to_bytes(8, "little"),
    "length of everything": b"\xff" * 8,
    "negative length": (-16).to_bytes(8, "little", signed=True) + b"{}",
    "length past the file": with_header(b"{}", length=3),
    "length of gigabytes": with_header(b"{}", length=5 << 30),
    "length zero": with_header(b""),
    "cut header": with_header(header(w=tensor())[:-5], DATA),
    "not json": with_header(b"\x80\x02}q\x00."),
    "not utf-8": with_header(b'{"\xff\xfe": 1}'),
    "a list": with_header(b"[]"),
    "a number": with_header(b"7"),
    "null": with_header(b"null"),
    "duplicate names": with_header(b'{"w": %s, "w": %s}' % ((header(**tensor()),) * 2), DATA),
    "duplicate fields": with_header(b'{"w": {"dtype": "F32", "dtype": "F16"}}', DATA),
    "nested bomb": with_header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "list bomb": with_header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "digits bomb": with_header(b'{"a": ' + b"9" * 100_000 + b"}"),
    "dimensions bomb": with_header(header(w=tensor(shape=[1 << 47] * 200_000)), DATA),
    "zero dimensions bomb": with_header(header(w=tensor(shape=[1 << 47] * 200_000 + [0])), DATA),
    "past the end": with_header(header(w=tensor(data_offsets=[0, 16])), DATA[:15]),
    "begins past the end": with_header(header(w=tensor(data_offsets=[1 << 40, 1 << 41])), DATA),
    "backwards": with_header(header(w=tensor(data_offsets=[16, 0])), DATA),
    "negative offset": with_header(header(w=tensor(data_offsets=[-16, 0])), DATA),
    "float offset": with_header(header(w=tensor(data_offsets=[0, 16.0])), DATA),
    "text offset": with_header(header(w=tensor(data_offsets=["0", "16"])), DATA),
    "one offset": with_header(header(w=tensor(data_offsets=[16])), DATA),
    "three offsets": with_header(header(w=tensor(data_offsets=[0, 8, 16])), DATA),
    "true for one": with_header(header(w=tensor(shape=[True, 4])), DATA),
    "negative shape": with_header(header(w=tensor(shape=[-2, -2])), DATA),
    "float shape": with_header(header(w=tensor(shape=[2.0, 2.0])), DATA),
    "overflowing shape": with_header(header(w=tensor(shape=[1 << 32, 1 << 32])), DATA),
    "wrong size": with_header(header(w=tensor(shape=[2, 3])), DATA),
    "missing dtype": with_header(header(w={"shape": [4], "data_offsets": [0, 16]}), DATA),
    "dtype of a list": with_header(header(w=tensor(dtype=["F32"])), DATA),
    "entry of text": with_header(header(w="F32"), DATA),
    "overlapping": with_header(header(v=tensor(), w=tensor(data_offsets=[8, 24])), DATA + DATA[:8]),
    "the same bytes": with_header(header(v=tensor(), w=tensor()), DATA),
    "inside another": with_header(
        header(v=tensor(shape=[4, 4], data_offsets=[0, 64]), w=tensor()), DATA * 4
    ),
    "bytes after": with_header(header(w=tensor()), DATA + b"PK\x03\x04"),
    "bytes between": with_header(header(v=tensor(), w=tensor(data_offsets=[32, 48])), DATA * 3),
    "bytes before": with_header(header(w=tensor(data_offsets=[16, 32])), DATA * 2),
    "bytes of nothing": with_header(b"{}", DATA),
    "integers over floats": with_header(header(v=tensor(dtype="I8", shape=[16]), w=tensor()), DATA),
    "metadata of numbers": with_header(header(__metadata__={"format": 7}, w=tensor()), DATA),
    "metadata of a list": with_header(header(__metadata__=[], w=tensor()), DATA),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING.keys())
def test_weights_that_lie(tmp_path: Path, content: bytes) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(content)
    attempt(source, Damaged, "model.safetensors")


def test_the_lies_differ_from_truth(tmp_path: Path) -> None:
    nothing = tensor(shape=[0, 4], data_offsets=[16, 16])
    head = header(__metadata__={"format": "pt"}, w=tensor(), nothing=nothing)
    (tmp_path / "a").write_bytes(with_header(head, DATA))
    with SafetensorsFile(tmp_path / "a") as file:
        assert file.rows("w", 0, 2).shape == file.entries["w"].shape == (2, 2)
        assert file.rows("nothing", 0, 0).shape == (0, 4)


@pytest.mark.parametrize("part", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_weights(tmp_path: Path, part: float) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(GOOD[: int(len(GOOD) * part)])
    attempt(source, Damaged, "model.safetensors")


def test_one_byte_less(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(GOOD[:-1])
    attempt(source, Damaged, "cut off")


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "BOOL", "NONSENSE"])
def test_weights_that_are_no_floats(tmp_path: Path, dtype: str) -> None:
    source = tiny(tmp_path / "source")
    length = int.from_bytes(GOOD[:8], "little")
    entries = json.loads(GOOD[8 : 8 + length])
    entries["model.norm.weight"]["dtype"] = dtype
    (source / "model.safetensors").write_bytes(
        with_header(json.dumps(entries).encode(), GOOD[8 + length :])
    )
    attempt(source, Unsupported, "model.norm.weight", dtype)


@pytest.mark.parametrize("quant", ["fp32", "int4"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, quant: str) -> None:
    """Broken training gives such files. Floats keep them; low-bit codes cannot hold them."""
    config = config_of("llama")
    weights = weights_of(config)
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    source = checkpoint(tmp_path / "source", config, weights)
    if quant == "int4":
        attempt(source, Damaged, "layers.1.mlp.up", "NaN")
    else:
        assert Artifact.open(converted(tmp_path / "out", source)).check_hashes() == ()


# Shards


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../../../../etc/passwd", Damaged),
        ("/etc/passwd", Damaged),
        ("../source/model.safetensors", Damaged),
        ("sub/model.safetensors", Damaged),
        ("missing.safetensors", Damaged),
        ("model.bin", Damaged),
        ("a\0.safetensors", Damaged),
        ("x" * 300 + ".safetensors", Damaged),
        ("\ud800.safetensors", Damaged),
        ("", Damaged),
    ],
)
def test_an_index_that_names_other_files(tmp_path: Path, name: str, kind: type[EdgeError]) -> None:
    source = tiny(tmp_path / "source")
    index = {"weight_map": {"model.norm.weight": name}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    attempt(source, kind)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": 7}', '{"weight_map": {"a": 7}}', "{}"]
)
def test_an_index_that_is_none(tmp_path: Path, content: str) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors.index.json").write_text(content)
    attempt(source, Damaged, "index.json")


def test_two_shards_with_one_tensor(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    for name in ("a.safetensors", "b.safetensors"):
        (source / name).write_bytes(GOOD)
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    attempt(source, Damaged, "a.safetensors", "b.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").unlink()
    os.mkfifo(source / name)  # whoever opens it waits for ever
    attempt(source, Unsupported, name, "safetensors")


def test_a_checkpoint_without_weights(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").unlink()
    attempt(source, Damaged, "model.safetensors")


# Configs


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


# Artifacts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return converted(folder / "it", tiny(folder / "source", vocab_size=512), "int4")


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    copy = tmp_path / "artifact"
    copy.mkdir()
    for file in whole.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


MANIFESTS: dict[str, Change] = {
    "parent": lambda d: d["files"].update({"../source/config.json": "0"}),
    "absolute": lambda d: d["files"].update({"/etc/passwd": "0"}),
    "dots": lambda d: d["files"].update({"..": "0"}),
    "empty name": lambda d: d["files"].update({"": "0"}),
    "missing file": lambda d: d["files"].update({"gone.bin": "0"}),
    "nul in a name": lambda d: d["files"].update({"a\0b": "0"}),
    "long name": lambda d: d["files"].update({"x" * 5000: "0"}),
    "many folders": lambda d: d["files"].update({"/".join(["x" * 200] * 40): "0"}),
    "surrogate in a name": lambda d: d["files"].update({"\ud800": "0"}),
    "hash of a number": lambda d: d["files"].update({"model.onnx": 7}),
    "files of a list": lambda d: d.update(files=["model.onnx"]),
    "schema of tomorrow": lambda d: d.update(schema=2),
    "no schema": lambda d: d.pop("schema"),
    "no spec": lambda d: d.pop("spec"),
    "no target": lambda d: d.pop("target"),
    "no layers": lambda d: d["spec"].update(layers=[]),
    "layers of numbers": lambda d: d["spec"].update(layers=[7]),
    "layer of nothing": lambda d: d["spec"].update(layers=[{}]),
    "heads that do not divide": lambda d: d["spec"]["layers"][0].update(kv_heads=3),
    "huge width": lambda d: d["spec"].update(width=10**12),
    "negative context": lambda d: d["spec"].update(context=-1),
    "verified of a list": lambda d: d.update(verified=[1]),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_manifests_that_lie(artifact: Path, change: Change) -> None:
    rewrite(artifact, change)
    with refused(Damaged):
        inspect(artifact)


@pytest.mark.parametrize("target", ["", "../runtimes", "os", "reference", "nonsense"])
def test_a_manifest_of_another_target(artifact: Path, target: str) -> None:
    rewrite(artifact, lambda d: d.update(target=target))
    with refused(EdgeError, "target"):
        api.load(artifact)


def test_a_linked_file_is_not_followed(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.onnx.data").rename(tmp_path / "elsewhere")
    (artifact / "model.onnx.data").symlink_to(tmp_path / "elsewhere")
    with refused(Damaged, "model.onnx.data"):
        Artifact.open(artifact)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_truncated_files_of_an_artifact(
    artifact: Path, assets: Path, name: str, part: float
) -> None:
    file = artifact / name
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    give_tokenizer(artifact, assets)
    with refused(Damaged, "model.onnx"):
        api.load(artifact)


LIES: dict[str, Change] = {  # each of them true of another model
    "more vocabulary": lambda d: d["spec"].update(vocab=513),
    "less vocabulary": lambda d: d["spec"].update(vocab=511),
    "more layers": lambda d: d["spec"].update(layers=d["spec"]["layers"] * 2),
    "fewer layers": lambda d: d["spec"].update(layers=d["spec"]["layers"][:1]),
    "other heads": lambda d: [layer.update(kv_heads=4) for layer in d["spec"]["layers"]],
    "longer context": lambda d: d["spec"].update(context=4096),
    "narrower heads": lambda d: [layer.update(head_width=8) for layer in d["spec"]["layers"]],
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES.keys())
def test_a_spec_that_is_not_the_graph_s(artifact: Path, assets: Path, change: Change) -> None:
    give_tokenizer(artifact, assets)
    rewrite(artifact, change)
    with refused(Damaged, "model.onnx"):
        api.load(artifact).decoder.prefill([1, 2, 3] * 30)


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
        (("verify", "no/such/place"), 4),
        (("run", "no-such-model"), 2),
        (("run", "no such model --json"), 2),
        (("bench", "no/such/place"), 4),
        (("convert",), 2),
        (("nonsense",), 2),
    ],
    ids=str,
)
def test_exit_codes_of_wrong_requests(
    tmp_path: Path, edge: Edge, args: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge.registry._HERE", tmp_path)  # no packaged model
    done = edge(*args)
    assert done.code == code
    assert "Traceback" not in done.err


# Fuzz: only EdgeError may escape

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I8", "X"]) | json_values,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 80), min_size=2, max_size=2) | json_values,
    }
)
headers = st.dictionaries(st.text(max_size=4), entries | json_values, max_size=4)


@given(headers.map(lambda h: json.dumps(h).encode()) | st.binary(max_size=64), st.integers(0, 99))
@example(b"{}", 0)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_header_is_read_or_refused(tmp_path: Path, head: bytes, size: int) -> None:
    path = tmp_path / "fuzzed"
    path.write_bytes(with_header(head, b"\0" * size))
    try:
        with SafetensorsFile(path) as file:
            for name, entry in file.entries.items():
                if entry.shape and entry.dtype in ("F32", "F16", "BF16", "F64"):
                    file.rows(name, 0, entry.shape[0])
    except EdgeError:
        pass


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fuzzed").write_bytes(content)
    with suppress(EdgeError):
        SafetensorsFile(tmp_path / "fuzzed").close()


@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)
def test_any_manifest_is_read_or_refused(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A true manifest with one value, at any depth, replaced."""
    manifest = json.loads((whole / MANIFEST).read_text())
    place: Any = manifest
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        deeper = isinstance(place[key], dict | list) and place[key]
        if not deeper or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    folder = tmp_path / "fuzzed"
    folder.mkdir(exist_ok=True)
    for name in ("model.onnx", "score.onnx", "exact.onnx", "model.onnx.data", "genai_config.json"):
        (folder / name).touch()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with suppress(EdgeError):
        inspect(folder)
