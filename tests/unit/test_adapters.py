"""Adapters are read as PEFT and mlx-lm read them: merged weights are theirs, and what we write loads there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapting import adapted, merged, model_of, saved
from references import scores
from support import safetensors, tiny

from edge.adapters import folder as adapters
from edge.adapters import mlx, peft
from edge.adapters import value as values
from edge.errors import Damaged, EdgeError, Unsupported
from edge.source.checkpoint import Checkpoint
from edge.typing import F32

IDS = [3, 5, 7, 11, 2, 40]
SEPARATE = ["q_proj", "v_proj", "down_proj"]
FUSED = ["qkv_proj", "gate_up_proj", "o_proj"]
# Each is a report of others: alpha by the rank (mlx-vlm#986), lengths that a merge dropped (unsloth-zoo#828), patterns
# that one ignored (axolotl#3673, peft#1746), fused modules of Phi-3 (llama.cpp#7164, vllm#4715).
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 6},
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
    "rslora": {"r": 3, "lora_alpha": 5, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {r"layers\.1\..*(?:q|qkv)_proj": 2, "o_proj": 3},
        "alpha_pattern": {"down_proj": 3, r"^model.layers.0.self_attn.q_proj": 5, "qkv_proj": 2},
    },
    "one layer": {"r": 2, "lora_alpha": 2, "layers_to_transform": 1, "layers_pattern": "layers"},
    "the first layer": {"r": 2, "lora_alpha": 2, "layers_to_transform": [0]},
}


def ours(folder: Path, source: Path) -> dict[str, F32]:
    """The checkpoint's tensors, put together of merged canonical weights."""
    with Checkpoint.open(source) as opened:
        deltas = adapters.read(folder).deltas(opened.places)
        out: dict[str, F32] = {}
        for name, place in opened.places.items():
            weight = opened[name]
            if name in deltas:
                weight = values.merged(weight, deltas[name])
            tensor = out.setdefault(place.tensor, np.full(place.stored, np.nan, np.float32))
            rows = place.rows or (range(place.stored[0]),)
            tensor[np.concatenate([list(part) for part in rows])] = weight
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("family", "targets"), [("llama", SEPARATE), ("phi3", FUSED)])
def test_merged_weights_are_pefts(
    family: str, targets: list[str], kind: str, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "model", family)
    model = saved(tmp_path / "adapter", source, target_modules=targets, **KINDS[kind])
    want_logits = scores(model, IDS)
    want = merged(model)
    got = ours(tmp_path / "adapter", source)
    assert got.keys() == want.keys()
    plain = model_of(source).state_dict()
    changed = {name for name in got if not np.array_equal(want[name], plain[name])}
    assert len(changed) == (len(targets) if "layer" in kind else 2 * len(targets))
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)
    model = model_of(source)
    import torch

    model.load_state_dict({name: torch.from_numpy(value) for name, value in got.items()})
    np.testing.assert_allclose(scores(model, IDS), want_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "targets", ["all-linear", r".*\.layers\.\d+\.mlp\..*_proj", r"(.*[.])*o_proj"]
)
def test_targets_may_be_an_expression(targets: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "model")
    model = saved(tmp_path / "adapter", source, r=2, target_modules=targets)
    config = tmp_path / "adapter" / peft.CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": targets}))
    got, want = ours(tmp_path / "adapter", source), merged(model)
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["lora", "dora", "patterns", "one layer"])
def test_what_is_written_loads_in_peft(kind: str, tmp_path: Path) -> None:
    library = pytest.importorskip("peft")
    source = tiny(tmp_path / "model")
    model = saved(tmp_path / "adapter", source, target_modules=SEPARATE, **KINDS[kind])
    again = tmp_path / "again"
    again.mkdir()
    peft.write(again, adapters.read(tmp_path / "adapter"), base="org/name")
    loaded = library.PeftModel.from_pretrained(model_of(source), again)
    np.testing.assert_array_equal(scores(loaded, IDS), scores(model, IDS))
    assert loaded.peft_config["default"].base_model_name_or_path == "org/name"


@pytest.mark.parametrize("kind", ["lora", "dora", "patterns", "one layer"])
@pytest.mark.parametrize(("family", "targets"), [("llama", SEPARATE), ("phi3", FUSED)])
def test_what_is_written_loads_in_mlx_lm(
    family: str, targets: list[str], kind: str, tmp_path: Path
) -> None:
    mx, library = pytest.importorskip("mlx.core"), pytest.importorskip("mlx_lm.utils")
    source = tiny(tmp_path / "model", family, sliding_window=None)
    model = saved(tmp_path / "adapter", source, target_modules=targets, **KINDS[kind])
    again = tmp_path / "again"
    again.mkdir()
    mlx.write(again, adapters.read(tmp_path / "adapter"))
    loaded, _ = library.load_model(source)
    loaded.eval()
    before = np.array(loaded(mx.array([IDS]))[0])
    got = np.array(library.load_adapters(loaded, str(again))(mx.array([IDS]))[0])
    want = scores(model, IDS)
    assert abs(before - want).max() > 0.1
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)

    back, first = adapters.read(again).modules, adapters.read(tmp_path / "adapter").modules
    assert back.keys() == first.keys()
    for name, delta in first.items():
        weight = np.ones(delta.shape, np.float32)
        np.testing.assert_allclose(
            values.merged(weight, back[name]), values.merged(weight, delta), rtol=1e-5, atol=1e-6
        )


def test_a_block_of_rows_is_merged_as_the_whole_is() -> None:
    rng = np.random.default_rng(0)
    down, up, weight = rng.normal(size=(2, 5)), rng.normal(size=(7, 2)), rng.normal(size=(7, 5))
    delta = values.Delta(down.astype("f4"), up.astype("f4"), 1.5, np.arange(7, dtype="f4"))
    whole = weight.astype("f4")
    parts = [values.merged(whole[at : at + 3], delta, at) for at in (0, 3, 6)]
    want = weight + 1.5 * up @ down
    want *= np.arange(7)[:, None] / np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate(parts), want, rtol=1e-5, atol=1e-6)


def test_a_row_of_zeros_stays_one() -> None:
    delta = values.Delta(np.ones((1, 4), "f4"), np.zeros((2, 1), "f4"), 1.0, np.ones(2, "f4"))
    assert not values.merged(np.zeros((2, 4), np.float32), delta).any()


# What is refused, and by which words.
FIELDS: dict[str, tuple[dict[str, Any], type[EdgeError], str]] = {
    "another method": ({"peft_type": "IA3"}, Unsupported, "IA3"),
    "no method": ({"peft_type": None}, Damaged, "peft_type"),
    "trained biases": ({"bias": "all"}, Unsupported, "bias"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, Unsupported, "modules_to_save"),
    "turned weights": ({"fan_in_fan_out": True}, Unsupported, "fan_in_fan_out"),
    "biases of B": ({"lora_bias": True}, Unsupported, "lora_bias"),
    "a base that was split": ({"init_lora_weights": "pissa"}, Unsupported, "pissa"),
    "a rounded base": ({"init_lora_weights": "loftq"}, Unsupported, "loftq"),
    "repeated layers": ({"layer_replication": [[0, 2]]}, Unsupported, "layer_replication"),
    "what is not known": ({"use_sharks": True}, Unsupported, "use_sharks"),
    "another rank": ({"r": 5}, Damaged, "rank 5"),
    "no rank": ({"r": 0}, Damaged, "r is 0"),
    "no alpha": ({"lora_alpha": None}, Damaged, "lora_alpha"),
    "other targets": ({"target_modules": ["k_proj"]}, Damaged, "does not name"),
    "more targets": ({"target_modules": [*SEPARATE, "k_proj"]}, Damaged, "k_proj"),
    "targets that are a number": ({"target_modules": 2}, Damaged, "target_modules"),
    "layers that are no numbers": ({"layers_to_transform": True}, Damaged, "layers_to_transform"),
    "lists of layers that are none": ({"layers_pattern": 0.5}, Damaged, "layers_pattern"),
    "no targets": ({"target_modules": []}, Damaged, "target_modules"),
    "lengths that are not there": ({"use_dora": True}, Damaged, "lora_magnitude_vector"),
    "an expression that takes for ever": (
        {"target_modules": r"(([a-z]|[a-z_.0-9])+)+X"},
        Damaged,
        "seconds",
    ),
    "no expression": ({"target_modules": "(.*"}, Damaged, "expression"),
    "an expression of layers": ({"layers_pattern": "(.*)*"}, Damaged, "layers_pattern"),
    "a rank by an expression": ({"rank_pattern": {"(q_proj|": 3}}, Damaged, "expression"),
    "text for a number": ({"alpha_pattern": {"q_proj": "9"}}, Damaged, "q_proj"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint, and the tensors of an adapter of it."""
    source = tiny(tmp_path_factory.mktemp("adapters") / "model")
    out: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(0)
    with Checkpoint.open(source) as opened:
        for module, (n, k) in values.linears(opened.places).items():
            if module.endswith(tuple(SEPARATE)):
                at = f"base_model.model.{module}.lora_"
                out[f"{at}A.weight"] = rng.normal(size=(2, k)).astype("f4")
                out[f"{at}B.weight"] = rng.normal(size=(n, 2)).astype("f4")
    return source, out


CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": SEPARATE}


def written(folder: Path, tensors: dict[str, np.ndarray], **fields: Any) -> Path:
    folder.mkdir()
    (folder / peft.CONFIG).write_text(json.dumps(CONFIG | fields))
    (folder / peft.WEIGHTS).write_bytes(safetensors(tensors))
    return folder


@pytest.mark.parametrize("case", FIELDS)
def test_what_is_not_computed_is_refused(
    case: str, plain: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    fields, error, words = FIELDS[case]
    source, tensors = plain
    assert ours(written(tmp_path / "right", tensors), source)
    with pytest.raises(error, match=words):
        ours(written(tmp_path / "wrong", tensors, **fields), source)


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
TENSORS: dict[str, tuple[Callable[[dict[str, Any]], Any], type[EdgeError], str]] = {
    "no B": (lambda t: t.pop(Q + "B.weight"), Damaged, "lora_B"),
    "no module": (lambda t: [t.pop(Q + "A.weight"), t.pop(Q + "B.weight")], Damaged, "nothing"),
    "nothing": (lambda t: t.clear(), Damaged, "no adapter"),
    "NaN": (lambda t: t.update({Q + "A.weight": np.full((2, 64), np.nan, "f4")}), Damaged, "NaN"),
    "codes": (lambda t: t.update({Q + "A.weight": np.zeros((2, 64), "u1")}), Unsupported, "U8"),
    "a bias": (lambda t: t.update({Q + "B.bias": np.zeros(64, "f4")}), Unsupported, "lora_B.bias"),
    "other inputs": (lambda t: t.update({Q + "A.weight": np.zeros((2, 9), "f4")}), Damaged, "64, 9"),
    "other ranks": (lambda t: t.update({Q + "A.weight": np.zeros((3, 64), "f4")}), Damaged, "fit"),
    "a vector": (lambda t: t.update({Q + "A.weight": np.zeros(64, "f4")}), Damaged, "fit"),
    "no rows": (lambda t: t.update({Q + "A.weight": np.zeros((0, 64), "f4")}), Damaged, "nothing"),
    "another layer": (
        lambda t: t.update({k.replace("rs.0", "rs.7"): v for k, v in t.items()}),
        Damaged,
        "layers.7",
    ),
    "an embedding": (
        lambda t: t.update({k.replace("layers.0.self_attn.q_proj", "embed_tokens.v_proj"): v for k, v in t.items()}),
        Damaged,
        "embed_tokens",
    ),
    # llama.cpp#11554: axolotl saved the whole head with the adapter.
    "a whole head": (
        lambda t: t.update({"base_model.model.lm_head.weight": np.zeros((97, 64), "f4")}),
        Unsupported,
        "lm_head.weight",
    ),
    # diffusers#11675: keys that PEFT has while it trains, with the adapter's name in them.
    "names of a model in memory": (
        lambda t: t.update({k.replace("weight", "default.weight"): t.pop(k) for k in list(t)}),
        Unsupported,
        "default.weight",
    ),
    # LlamaFactory#10294: of a decoder inside of another model.
    "a prefix": (
        lambda t: t.update({k.replace("model.layers", "model.language_model.layers"): t.pop(k) for k in list(t)}),
        Damaged,
        "language_model",
    ),
    "rows of an embedding": (
        lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((2, 9), "f4")}),
        Unsupported,
        "lora_embedding_A",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_damaged_tensors_are_refused(
    case: str, plain: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    change, error, words = TENSORS[case]
    source, right = plain
    tensors = dict(right)
    change(tensors)
    with pytest.raises(error, match=words):
        ours(written(tmp_path / "wrong", tensors), source)


def test_a_tied_head_is_refused(tmp_path: Path) -> None:
    source = tiny(tmp_path / "model", tie_word_embeddings=True)
    tensors = {
        "base_model.model.lm_head.lora_A.weight": np.ones((2, 64), "f4"),
        "base_model.model.lm_head.lora_B.weight": np.ones((97, 2), "f4"),
    }
    folder = written(tmp_path / "adapter", tensors, target_modules=["lm_head"])
    with pytest.raises(EdgeError, match="lm_head"):
        ours(folder, source)
    tensors = {name.replace("lm_head", "model.embed_tokens"): a for name, a in tensors.items()}
    folder = written(tmp_path / "other", tensors, target_modules=["embed_tokens"])
    with pytest.raises(Unsupported, match="embedding"):
        ours(folder, source)


def test_a_head_of_its_own_may_change(tmp_path: Path) -> None:
    source = tiny(tmp_path / "model")
    model = saved(tmp_path / "adapter", source, target_modules=["lm_head", "q_proj"], r=2)
    with pytest.raises(Unsupported, match="save_embedding_layers"):
        adapters.read(tmp_path / "adapter")
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    got, want = ours(tmp_path / "adapter", source), merged(model)
    np.testing.assert_allclose(got["lm_head.weight"], want["lm_head.weight"], rtol=1e-5, atol=1e-6)


def test_a_pickle_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(Unsupported, match="save_pretrained"):
        adapters.read(tmp_path)
    with pytest.raises(Damaged, match="no adapter_model"):
        adapters.read(tmp_path.parent)
    with pytest.raises(EdgeError, match="there is no"):
        adapters.read(tmp_path / "not")


MLX: dict[str, tuple[dict[str, Any], type[EdgeError], str]] = {
    "whole weights": ({"fine_tune_type": "full"}, Unsupported, "full"),
    "no parameters": ({"lora_parameters": None}, Damaged, "lora_parameters"),
    "no scale": ({"lora_parameters": {"rank": 2}}, Damaged, "scale"),
    "another rank": ({"lora_parameters": {"rank": 3, "scale": 2.0}}, Damaged, "rank 3"),
    "lengths that are not there": ({"fine_tune_type": "dora"}, Damaged, "lacks m"),
}


@pytest.mark.parametrize("case", MLX)
def test_what_mlx_lm_says_is_checked(
    case: str, plain: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    fields, error, words = MLX[case]
    source, tensors = plain
    mlx.write(tmp_path, peft.read(written(tmp_path / "peft", tensors)))
    assert ours(tmp_path, source)
    config = tmp_path / mlx.CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    with pytest.raises(error, match=words):
        ours(tmp_path, source)


def test_an_adapter_says_that_it_changes_something(tmp_path: Path) -> None:
    """A test of the oracle: without its adapter the model says something else."""
    source = tiny(tmp_path / "model")
    model = adapted(source, target_modules=SEPARATE, r=2)
    assert abs(scores(model, IDS) - scores(model_of(source), IDS)).max() > 0.1


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_checkpoint_with_an_adapter_is_a_checkpoint(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever blocks its rows are read in, of fused tensors, too; what no adapter changes stays as it is."""
    source = tiny(tmp_path / "model", "phi3")
    saved(tmp_path / "adapter", source, target_modules=FUSED, **KINDS[kind])
    want = {}
    with (
        Checkpoint.open(source) as plain,
        Checkpoint.open(source, adapter=tmp_path / "adapter") as one,
    ):
        deltas = adapters.read(tmp_path / "adapter").deltas(plain.places)
        for name in plain.places:
            weight = plain[name]
            want[name] = values.merged(weight, deltas[name]) if name in deltas else weight
            np.testing.assert_array_equal(one[name], want[name])
        monkeypatch.setattr("edge.source.checkpoint.BLOCK", 5 * 64)
        for name in plain.places:
            assert len(list(one.blocks(name))) > 1 or want[name].size <= 5 * 64
            np.testing.assert_allclose(one[name], want[name], rtol=1e-6, atol=1e-7)
        assert {file.name for file in one.adapter} == {peft.CONFIG, peft.WEIGHTS}
