"""Configs and tensor names as really published; those that are not supported are refused by field."""

import json
from pathlib import Path
from typing import Any

import pytest
from cases import CASES
from published import OPENELM, openelm
from support import spec_of

from edge.errors import EdgeError, Unsupported
from edge.families import decoders, family_of
from edge.files.config import Config
from edge.measure.inspection import parameters
from edge.names import shapes
from edge.spec import Llama3Scaling, LongRope, parts

FROM_CODE = "hf-config/from-code"


def read(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize(
    ("file", "count", "window", "kv_heads", "theta"),
    [
        (f"{FROM_CODE}/mlc-llm.llama2_7b.config.json", 6_738_415_616, None, 32, 1e4),
        (f"{FROM_CODE}/onnx-tool.llama2_7b.config.json", 6_738_415_616, None, 32, 1e4),
        (f"{FROM_CODE}/mlc-llm.llama3_1_8b.config.json", 8_030_261_248, None, 8, 5e5),
        (f"{FROM_CODE}/onnx-tool.Llama3_8B.config.json", 8_030_261_248, None, 8, 5e5),
        (f"{FROM_CODE}/onnx-tool.llama_31_70B.config.json", 70_553_706_496, None, 8, 5e5),
        (f"{FROM_CODE}/mlc-llm.mistral_7b.config.json", 7_241_732_096, 4096, 8, 1e4),
        (f"{FROM_CODE}/mlc-llm.tinyllama_1b_chat_v1.0.config.json", 1_100_048_384, None, 4, 1e4),
        (f"{FROM_CODE}/mlc-llm.internlm2.config.json", 7_737_708_544, None, 8, 1e6),
        (f"{FROM_CODE}/mlc-llm.internlm2_5_7b.config.json", 7_737_708_544, None, 8, 1e6),
        (f"{FROM_CODE}/mlc-llm.phi-3_5.config.json", 3_821_079_552, 262144, 32, 1e4),
        ("hf-config/phi3-eedi/config.json", 3_821_079_552, 262144, 32, 1e4),
        (f"{FROM_CODE}/onnx-tool.phi3_mini.config.json", 3_821_079_552, 2047, 32, 1e4),
        (f"{FROM_CODE}/onnx-tool.Phi_3_small_8k_instruct.config.json", 7_392_272_384, None, 8, 1e6),
        (f"{FROM_CODE}/onnx-tool.Phi_3_medium_4k_instruct.config.json", 13_960_238_080, 2047, 10, 1e4),
        ("hf-config/llama3-8b-finetune/config.json", 8_030_261_248, None, 8, 5e5),
        ("hf-config/llama3-8b-modelstock/config.json", 8_030_261_248, None, 8, 5e5),
    ],
)  # fmt: skip
def test_published_configs(
    assets: Path, file: str, count: int, window: int | None, kv_heads: int, theta: float
) -> None:
    spec = spec_of(read(assets / file))
    assert parameters(spec) == count
    assert {(layer.window, layer.kv_heads) for layer in spec.layers} == {(window, kv_heads)}
    assert spec.rope.theta == theta


def test_llama_3_1_is_scaled(assets: Path) -> None:
    spec = spec_of(read(assets / f"{FROM_CODE}/mlc-llm.llama3_1_8b.config.json"))
    assert isinstance(spec.rope.scaling, Llama3Scaling)
    assert (spec.rope.scaling.factor, spec.rope.scaling.original_context) == (8.0, 8192)
    assert (
        spec_of(read(assets / f"{FROM_CODE}/onnx-tool.Llama3_8B.config.json")).rope.scaling is None
    )


def test_phi_3_5_has_two_sets_of_factors(assets: Path) -> None:
    spec = spec_of(read(assets / "hf-config/phi3-eedi/config.json"))
    scaling = spec.rope.scaling
    assert isinstance(scaling, LongRope)
    assert (len(scaling.short), len(scaling.long), scaling.original_context) == (48, 48, 4096)
    assert scaling.short_attention == scaling.long_attention == pytest.approx(1.1902380714238083)
    assert [part.context for part in parts(spec).values()] == [4096, 131072]


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (f"{FROM_CODE}/onnx-tool.phi2.config.json", "phi"),
        ("hf-config/internvl2-2b-ft/config.json", "internvl_chat"),
    ],
)
def test_what_is_not_supported_is_refused_by_field(assets: Path, file: str, field: str) -> None:
    with pytest.raises(Unsupported, match=f"'{field}'") as caught:
        spec_of(read(assets / file))
    assert "config.json" in str(caught.value)


def test_every_published_config_of_a_family_is_read(assets: Path) -> None:
    known = {kind for family in decoders() for kind in family.model_types}
    files = [
        *(assets / "hf-config").glob("*/config.json"),
        *(assets / FROM_CODE).glob("*.config.json"),
    ]
    read_in = set()
    for file in files:
        config = read(file)
        config = config.get("llm_config", config)  # of a model that sees, too
        config.pop("quantization", None)
        if config.get("model_type") in known:
            assert spec_of(config).layers, file
            read_in.add(config["model_type"])
    told = {fields["model_type"] for case in CASES.values() for fields in case.published.values()}
    assert read_in | told == known, "no published config of some family"


def test_tensor_names_are_the_published_ones(assets: Path) -> None:
    """Where a checkpoint's index is there: no tensor too many, none too few."""
    indexes = sorted((assets / "hf-config").glob("*/model.safetensors.index.json"))
    assert len(indexes) >= 3
    for index in indexes:
        config = Config(read(index.with_name("config.json")), "config.json")
        family = family_of(config)
        places = family.names.places(family.spec(config)).values()
        assert {place.tensor for place in places} == set(read(index)["weight_map"]), index


COUNTS = {"270m": 271_527_168, "450m": 457_179_136, "1.1b": 1_079_891_456, "3b": 3_036_647_424}


@pytest.mark.parametrize("form", ["ends", "list"])
@pytest.mark.parametrize("size", OPENELM)
def test_openelm_sizes_are_the_published_tables(size: str, form: str) -> None:
    numbers, heads, widths = OPENELM[size]
    count = numbers["num_transformer_layers"]
    listed = [round(0.5 + 3.5 * i / (count - 1), 2) for i in range(count)]
    spec = spec_of(openelm(size, [0.5, 4.0] if form == "ends" else listed))
    assert [layer.heads for layer in spec.layers] == heads
    assert [layer.kv_heads * 4 for layer in spec.layers] == heads
    assert [layer.ffn_width for layer in spec.layers] == widths
    assert parameters(spec) == COUNTS[size]
    assert len(shapes(spec)) == 11 * count + 2  # 8 tensors a layer, three of them unfused
    assert spec.context == 2048


def test_a_real_openelm_config(assets: Path) -> None:
    config = read(assets / f"{FROM_CODE}/OpenELM-1_1B-Instruct-4bit.config.json")
    with pytest.raises(Unsupported, match="quantization is"):
        spec_of(config)
    del config["quantization"]
    assert spec_of(config) == spec_of(openelm("1.1b"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(
    assets: Path, change: dict[str, Any], field: str
) -> None:
    config = read(assets / f"{FROM_CODE}/onnx-tool.Llama3_8B.config.json")
    with pytest.raises(EdgeError, match=field):
        spec_of({**config, **change})


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
DEFAULT = {"rope_type": "default", "rope_theta": 5e5}
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "two tables": {"rope_scaling": LLAMA3, "rope_parameters": DEFAULT},
    "a table without a theta": {"rope_theta": None, "rope_scaling": {"type": "default"}, "rope_parameters": DEFAULT},
    "two thetas": {"rope_theta": 1e4, "rope_parameters": DEFAULT},
    "two types": {"rope_scaling": {**LLAMA3, "type": "default"}},
    "two lengths": {"rope_scaling": LLAMA3, "original_max_position_embeddings": 4096},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_rotary_settings_that_contradict_each_other_are_refused(assets: Path, kind: str) -> None:
    config = read(assets / f"{FROM_CODE}/onnx-tool.Llama3_8B.config.json")
    with pytest.raises(Unsupported, match="contradict each other"):
        spec_of({**config, **CONTRADICTIONS[kind]})


def test_two_spellings_that_say_the_same_are_no_contradiction(assets: Path) -> None:
    config = read(assets / f"{FROM_CODE}/mlc-llm.llama3_1_8b.config.json")
    newer = {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}
    assert spec_of({**config, **newer}) == spec_of(config)
    older = {"rope_scaling": {**LLAMA3, "type": "llama3"}, "original_max_position_embeddings": 8192}
    assert spec_of({**config, **older}) == spec_of(config)
    phi = read(assets / "hf-config/phi3-eedi/config.json")
    early = {**phi["rope_scaling"], "type": "su", "rope_type": "longrope"}
    assert spec_of({**phi, "rope_scaling": early}) == spec_of(phi)


def test_openelm_heads_that_its_own_code_would_not_make(assets: Path) -> None:
    """That takes the multipliers; the rows of a fused tensor may be as many either way."""
    config = read(assets / f"{FROM_CODE}/OpenELM-1_1B-Instruct-4bit.config.json")
    del config["quantization"]
    with pytest.raises(Unsupported, match="num_query_heads"):
        spec_of({**config, "num_gqa_groups": 2})
    with pytest.raises(Unsupported, match="num_query_heads"):
        spec_of({**config, "qkv_multipliers": 1.0})
