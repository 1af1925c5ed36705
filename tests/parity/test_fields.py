"""Every field that a family's own code knows is read, computed at some values alone, or inert: held
against transformers' classes and sources, against the parameters of published ones, and against logits.
"""

import ast
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references
from cases import CASES
from support import config_of, spec_of, weights_of

from edge.errors import Damaged, Unsupported
from edge.families import decoders, family_of
from edge.files.config import Config

transformers = pytest.importorskip("transformers")

FAMILIES = {family.name: family for family in decoders()}
CLASSES = {
    name: getattr(transformers, case.own)
    for name, case in CASES.items()
    if isinstance(case.own, str)
}
# Parameters of the config classes that were published beside the weights, with their defaults.
PUBLISHED = {name: case.own for name, case in CASES.items() if not isinstance(case.own, str)}
# Sizes, without which no config is whole; and ids, which decide what is said, not how it is computed.
SIZES = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("model_dim", "num_transformer_layers", "num_query_heads", "num_kv_heads", "head_dim"),
    *("ffn_multipliers", "qkv_multipliers"),
}
IDS = {"bos_token_id", "eos_token_id", "model_type"}
# Fields that other tools wrote into the copies of published configs that lie here.
FOREIGN = {
    *("name", "context_window_size", "prefill_chunk_size", "sliding_window_size"),
    "attention_sink_size",
}


def known(name: str) -> set[str]:
    fields = FAMILIES[name].fields
    return {*fields.read, *fields.absent, *fields.only, *fields.inert}


# What transformers knows, from its classes and its sources


def asked(file: str, *, attributes: bool) -> Iterator[str]:
    """Fields of a config that a source asks for: by `getattr` and `hasattr`, or also as attributes."""
    root = Path(transformers.__file__).parent
    for node in ast.walk(ast.parse((root / file).read_text())):
        if isinstance(node, ast.Attribute) and attributes and is_config(node.value):
            yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            name = node.args[1]
            if is_config(node.args[0]) and isinstance(name, ast.Constant):
                yield str(name.value)


def is_config(node: ast.AST) -> bool:
    return ast.unparse(node).split(".")[-1] in ("config", "layer_config", "effective_config")


def taken(file: str) -> Iterator[str]:
    """Fields that a config class takes out of what it was given beside its own."""
    root = Path(transformers.__file__).parent
    tree = ast.parse((root / file).read_text())
    wanted = ("__post_init__", "convert_rope_params_to_dict")
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in wanted:
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            names = (
                c.args[0] for c in calls if ast.unparse(c.func) in ("kwargs.pop", "kwargs.get")
            )
            yield from (str(name.value) for name in names if isinstance(name, ast.Constant))


def of_transformers(name: str) -> set[str]:
    """Every field that a class of it or the code around honours, or at least looks at."""
    kind, base = CLASSES[name], transformers.PreTrainedConfig
    fields = {field.name for field in dataclasses.fields(kind)}
    folder = kind.model_type
    own = f"models/{folder}/configuration_{folder}.py"
    for file in ("configuration_utils.py", "modeling_rope_utils.py", own):
        fields |= set(taken(file))
    for file in (f"models/{folder}/modeling_{folder}.py", "masking_utils.py", "cache_utils.py"):
        fields |= set(asked(file, attributes=True))
    fields |= set(asked("modeling_utils.py", attributes=False))
    methods = {key for key in dir(base) if key not in {f.name for f in dataclasses.fields(base)}}
    return {key for key in fields - methods if not key.startswith("_")} | {"per_layer_config"}


@pytest.mark.parametrize("name", CLASSES)
def test_each_field_that_transformers_knows_is_listed(name: str) -> None:
    found = of_transformers(name)
    assert {"hidden_size", "is_causal", "transformers_weights", "layer_types"} <= found
    assert found - known(name) == set()


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_parameter_of_a_published_class_is_listed(name: str) -> None:
    assert PUBLISHED[name].keys() - known(name) == set()


def test_each_field_of_a_published_config_is_listed(assets: Path) -> None:
    files = [
        *assets.glob("hf-config/*/config.json"),
        *assets.glob("hf-config/from-code/*.config.json"),
    ]
    seen = set()
    for file in files:
        config = json.loads(file.read_text())
        if (kind := config.get("model_type")) in FAMILIES:
            assert config.keys() - known(kind) - FOREIGN == set(), file
            seen.add(kind)
    assert seen >= {"llama", "phi3", "phi3small", "internlm2", "openelm"}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_field_of_a_config_in_the_registry_is_listed(name: str) -> None:
    """Qwen's, whose whole configs do not lie there, by what their sizes are told with."""
    for model, config in CASES[name].published.items():
        assert config.keys() - known(name) == set(), model


def defaults(name: str) -> Mapping[str, Any]:
    if name in PUBLISHED:
        return PUBLISHED[name]
    return {field.name: field.default for field in dataclasses.fields(CLASSES[name])}


@pytest.mark.parametrize("name", FAMILIES)
def test_an_absent_field_is_what_the_familys_own_code_takes(name: str) -> None:
    ours, theirs = FAMILIES[name].fields, defaults(name)
    assert {key: theirs[key] for key in ours.absent} == ours.absent
    counted = (ours.read | ours.only.keys()) - SIZES - IDS
    meant = {key for key in counted if theirs.get(key) is not None}
    for key in meant - ours.absent.keys():
        assert theirs[key] in ours.only.get(key, (10000,)), key


def test_a_window_that_is_not_mentioned_is_one() -> None:
    """Megatron-Bridge 4800: exporters left the field out, transformers took its class's 4,096."""
    config = config_of("mistral")
    del config["sliding_window"]
    assert {layer.window for layer in spec_of(config).layers} == {4096}
    assert {layer.window for layer in spec_of({**config, "sliding_window": None}).layers} == {None}


UPPER = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
FULL, WINDOWED = "full_attention", "sliding_attention"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    ("change", "windows"),
    [
        (UPPER, (None, 5)),
        ({**UPPER, "use_sliding_window": False}, (None, None)),  # transformers 38002 had one there
        ({**UPPER, "sliding_window": None}, (None, None)),
        ({**UPPER, "max_window_layers": 0}, (5, 5)),
        (
            {**UPPER, "max_window_layers": 70},
            (None, None),
        ),  # as Qwen2.5-32B-Instruct's: of no layer
        ({**UPPER, "layer_types": [WINDOWED, FULL]}, (5, None)),
        ({"layer_types": [FULL, FULL]}, (None, None)),
    ],
)
def test_a_window_is_that_of_the_layers_that_have_one(
    family: str, change: Mapping[str, Any], windows: tuple[int | None, ...]
) -> None:
    config = config_of(family, **change)
    assert tuple(layer.window for layer in spec_of(config).layers) == windows
    theirs = CLASSES[family](**config)
    found = (theirs.sliding_window if k == WINDOWED else None for k in theirs.layer_types)
    assert tuple(found) == windows


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": [WINDOWED, FULL]},
        {**UPPER, "layer_types": [FULL]},
        {**UPPER, "layer_types": [FULL, "chunked_attention"]},
        {**UPPER, "layer_types": [FULL, ["sliding_attention"]]},
        {**UPPER, "layer_types": "full_attention"},
    ],
)
def test_layers_of_other_types_are_refused(change: Mapping[str, Any]) -> None:
    with pytest.raises(Damaged, match="layer_types"):
        spec_of(config_of("qwen2", **change))


def test_a_window_of_llama_counts_where_its_cache_and_its_mask_disagree() -> None:
    config = config_of("llama", sliding_window=5)
    weights, tokens = weights_of(config_of("llama")), list(range(12))
    whole = references.transformers(config, weights, tokens)
    step = references.transformers(config, weights, tokens, steps=4)
    assert np.abs(whole[-1] - step[-1]).max() > 0.1
    with pytest.raises(Unsupported, match="sliding_window is 5"):
        spec_of(config)
    wide = {**config, "sliding_window": 64}
    assert spec_of(wide) == spec_of({**config, "sliding_window": None})
    step = references.transformers(wide, weights, tokens, steps=4)
    np.testing.assert_allclose(step[-1], whole[-1], atol=1e-5)


# What each list promises


@pytest.mark.parametrize("name", FAMILIES)
def test_a_value_that_is_not_computed_is_refused_by_name(name: str) -> None:
    config = config_of(name)
    for key, allowed in FAMILIES[name].fields.only.items():
        for value in (*allowed, None) if key not in ("bias",) else allowed:
            assert spec_of({**config, key: value}) == spec_of(config), key
        other: Any = {bool: True, float: 0.5, str: "gelu"}
        kinds = {type(value) for value in allowed}
        wrong = next((other[kind] for kind in kinds), {"bits": 4})
        wrong = not allowed[0] if bool in kinds else wrong
        with pytest.raises(Unsupported, match=f"{key} is "):
            spec_of({**config, key: wrong})


CHANGES: Mapping[str, Any] = {
    "vocab_size": 99, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 5,
    "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 32,
    "max_position_embeddings": 48, "rms_norm_eps": 0.5,
    "rope_theta": 5.0, "partial_rotary_factor": 0.5, "sliding_window": 3,
    "rope_parameters": {"rope_type": "dynamic", "factor": 2.0},
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "model_dim": 128, "num_transformer_layers": 2, "num_query_heads": [4, 8, 8],
    "num_kv_heads": [1, 2, 4], "num_gqa_groups": 2, "qkv_multipliers": 1.0,
    "ffn_multipliers": [1.0, 1.0, 1.0], "ffn_dim_divisor": 64, "max_context_length": 48,
    "normalize_qk_projections": False, "share_input_output_layers": False, "rope_freq_constant": 5,
    "ff_intermediate_size": 64, "gegelu_limit": 1.0, "dense_attention_every_n_layers": 3,
    "blocksparse_block_size": 8, "blocksparse_num_local_blocks": 3, "blocksparse_vert_stride": 8,
    "layer_norm_epsilon": 0.5, "rope_embedding_base": 5.0, "mup_attn_multiplier": 2.0,
    "mup_embedding_multiplier": 2.0, "mup_width_multiplier": 2.0, "dummy_token_indices": [3],
}  # fmt: skip
LONG = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_field_that_is_read_counts(name: str) -> None:
    """A changed value is another spec, or refused."""
    fields = FAMILIES[name].fields
    config = config_of(name, **CASES[name].counted)
    for key in (fields.read | fields.absent.keys()) - fields.only.keys() - IDS:
        changed = {**config, key: {**CHANGES, **CASES[name].changes}.get(key)}
        if key == "tie_word_embeddings":
            changed[key] = not spec_of(config).tied
        before = config
        if key == "original_max_position_embeddings":
            before, changed = ({**config, "rope_scaling": LONG, key: tokens} for tokens in (16, 32))
        assert outcome(changed) != outcome(before), key


def outcome(config: Mapping[str, Any]) -> object:
    try:
        return spec_of(config)
    except Unsupported as error:
        return str(error)


ODD: Mapping[str, Any] = {
    "architectures": ["AnotherModel"], "auto_map": {"AutoModel": "evil.Model"},
    "transformers_version": "0.0.1", "name_or_path": "x", "_name_or_path": "x", "_commit_hash": "x",
    "dtype": "float16", "torch_dtype": "float16", "initializer_range": 0.9, "use_cache": False,
    "return_dict": True, "output_hidden_states": True, "output_attentions": True,
    "attn_implementation": "eager", "experts_implementation": "eager", "chunk_size_feed_forward": 3,
    "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}, "num_labels": 3,
    "problem_type": "regression", "tie_last_hidden_states": True, "pad_token_id": 5,
    "sep_token_id": 7, "gradient_checkpointing": True, "distributed_config": None,
    "number_of_conv_states": 3, "attention_dropout": 0.9, "pretraining_tp": 2, "resid_pdrop": 0.9,
    "embd_pdrop": 0.9, "initializer_factor": 3.0, "init_std": 3.0, "attention_bias": True,
    "mlp_bias": True,
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_an_inert_field_changes_no_logit_of_transformers(name: str) -> None:
    inert = FAMILIES[name].fields.inert
    config, odd = config_of(name), {key: {**ODD, **CASES[name].changes}[key] for key in inert}
    assert spec_of({**config, **odd}) == spec_of(config)
    tokens, weights = list(range(30)), weights_of(config)
    plain, changed = (
        CASES[name].reference(it, weights, tokens) for it in (config, {**config, **odd})
    )
    np.testing.assert_array_equal(plain, changed)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_field_that_nobody_knows_is_passed_over(name: str) -> None:
    config = config_of(name)
    assert spec_of({**config, "prefill_chunk_size": 128, "my_note": "x"}) == spec_of(config)


@pytest.mark.parametrize("act", ["silu", "swish"])
def test_two_names_of_one_activation(act: str) -> None:
    config = config_of("llama")
    weights = weights_of(config)
    want = references.transformers(config, weights, [1, 2, 3])
    got = references.transformers({**config, "hidden_act": act}, weights, [1, 2, 3])
    np.testing.assert_array_equal(got, want)
    parsed = Config({**config, "hidden_act": act}, "config.json")
    assert family_of(parsed).spec(parsed) == spec_of(config)


# Tables of rotary settings


@pytest.mark.parametrize("key", ["factor", "attention_factor", "mrope_section", "full_attention"])
@pytest.mark.parametrize("table", ["rope_scaling", "rope_parameters"])
def test_what_no_type_of_rope_has_is_refused(table: str, key: str) -> None:
    """transformers warns and goes on; a table by layers is then read as no table at all."""
    value = {"rope_type": "linear", "factor": 2.0} if key == "full_attention" else 2.0
    with pytest.raises(Unsupported, match=f"{table}: {key} is"):
        spec_of(config_of("llama", **{table: {"rope_type": "default", key: value}}))


def test_a_part_of_a_head_turns_only_where_the_family_can() -> None:
    half = {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}
    assert spec_of(config_of("phi3", **half)).rope.width == 8
    for name in ("llama", "mistral", "internlm2"):
        with pytest.raises(Unsupported, match=r"partial_rotary_factor is 0\.5"):
            spec_of(config_of(name, **half))


def test_factors_that_only_phi_3_small_reads_are_refused_elsewhere() -> None:
    """transformers' Phi-3 passes over `short_mscale`."""
    table = {**LONG, "short_mscale": 1.2, "long_mscale": 1.2}
    with pytest.raises(Unsupported, match=r"_mscale is 1\.2"):
        spec_of(config_of("phi3", rope_scaling=table, original_max_position_embeddings=32))
    scaling = spec_of(config_of("phi3small", rope_scaling=table)).rope.scaling
    assert scaling is not None
    assert scaling.short_attention == 1.2


@pytest.mark.parametrize(
    "field", ["head_dim", "num_key_value_heads", "rope_scaling", "rope_parameters"]
)
@pytest.mark.parametrize("name", ["llama", "mistral", "phi3", "internlm2", "qwen2"])
def test_null_is_as_absent(name: str, field: str) -> None:
    """All heads of queries have their own keys; a head is a share of the width."""
    config = config_of(name, num_key_value_heads=4, head_dim=None)
    assert spec_of({**config, field: None}) == spec_of(config)
