"""Configs and tensor names as really published; those that are not supported are refused by field."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import spec_of

from edge.config import Config
from edge.errors import EdgeError, Unsupported
from edge.families import families, family_of
from edge.inspection import parameters
from edge.names import shapes
from edge.spec import DecoderSpec, Llama3Scaling, LongRope, parts

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
        (f"{FROM_CODE}/mlc-llm.mistral_7b.config.json", 7_241_732_096, None, 8, 1e4),
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
    known = {kind for family in families() for kind in family.model_types}
    files = [
        *(assets / "hf-config").glob("*/config.json"),
        *(assets / FROM_CODE).glob("*.config.json"),
    ]
    read_in = set()
    for file in files:
        config = read(file)
        config = config.get("llm_config", config)  # of a model that sees, too
        if config.get("model_type") in known:
            assert spec_of(config).layers, file
            read_in.add(config["model_type"])
    assert read_in == known, "no published config of some family"


def test_tensor_names_are_the_published_ones(assets: Path) -> None:
    """Where a checkpoint's index is there: no tensor too many, none too few."""
    indexes = sorted((assets / "hf-config").glob("*/model.safetensors.index.json"))
    assert len(indexes) >= 3
    for index in indexes:
        config = Config(read(index.with_name("config.json")), "config.json")
        family = family_of(config)
        places = family.names.places(family.spec(config)).values()
        assert {place.tensor for place in places} == set(read(index)["weight_map"]), index


# Facts of arXiv 2404.14619's checkpoints: runs of heads, feed-forward widths.
OPENELM: dict[str, tuple[dict[str, int], list[int], list[int]]] = {
    "270m": (
        {"num_transformer_layers": 16, "model_dim": 1280, "head_dim": 64},
        [12] * 5 + [16] * 7 + [20] * 4,
        [
            768, 1024, 1280, 1536, 1792, 2048, 2560, 2816, 3072, 3328, 3584, 3840, 4352, 4608,
            4864, 5120,
        ],
    ),
    "450m": (
        {"num_transformer_layers": 20, "model_dim": 1536, "head_dim": 64},
        [12] * 3 + [16] * 7 + [20] * 6 + [24] * 4,
        [
            768, 1024, 1280, 1536, 1792, 2304, 2560, 2816, 3072, 3328, 3584, 3840, 4096, 4352,
            4608, 5120, 5376, 5632, 5888, 6144,
        ],
    ),
    "1.1b": (
        {"num_transformer_layers": 28, "model_dim": 2048, "head_dim": 64},
        [16] * 3 + [20] * 7 + [24] * 8 + [28] * 6 + [32] * 4,
        [
            1024, 1280, 1536, 1792, 2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840, 4096, 4608,
            4608, 5120, 5376, 5632, 5888, 6144, 6400, 6656, 6912, 7168, 7424, 7680, 7936, 8192,
        ],
    ),
    "3b": (
        {"num_transformer_layers": 36, "model_dim": 3072, "head_dim": 128},
        [12] * 4 + [16] * 14 + [20] * 12 + [24] * 6,
        [
            1536, 1792, 2048, 2560, 2816, 3072, 3328, 3584, 4096, 4352, 4608, 4864, 5120, 5632,
            5888, 6144, 6400, 6656, 7168, 7424, 7680, 7936, 8192, 8704, 8960, 9216, 9472, 9728,
            10240, 10496, 10752, 11008, 11264, 11776, 12032, 12288,
        ],
    ),
}  # fmt: skip
COUNTS = {"270m": 271_527_168, "450m": 457_179_136, "1.1b": 1_079_891_456, "3b": 3_036_647_424}


def openelm(size: str, multipliers: list[float]) -> DecoderSpec:
    numbers, heads, _ = OPENELM[size]
    return spec_of(
        {
            "model_type": "openelm",
            "vocab_size": 32000,
            "num_query_heads": heads,
            "num_kv_heads": [count // 4 for count in heads],
            "ffn_multipliers": multipliers,
            "ffn_dim_divisor": 256,
            "ffn_with_glu": True,
            "activation_fn_name": "swish",
            "normalization_layer_name": "rms_norm",
            "normalize_qk_projections": True,
            "share_input_output_layers": True,
            "rope_freq_constant": 10000,
            "rope_max_length": 4096,
            "max_context_length": 2048,
            **numbers,
        }
    )


@pytest.mark.parametrize("form", ["ends", "list"])
@pytest.mark.parametrize("size", OPENELM)
def test_openelm_sizes_are_the_published_tables(size: str, form: str) -> None:
    numbers, heads, widths = OPENELM[size]
    count = numbers["num_transformer_layers"]
    listed = [round(0.5 + 3.5 * i / (count - 1), 2) for i in range(count)]
    spec = openelm(size, [0.5, 4.0] if form == "ends" else listed)
    assert [layer.heads for layer in spec.layers] == heads
    assert [layer.kv_heads * 4 for layer in spec.layers] == heads
    assert [layer.ffn_width for layer in spec.layers] == widths
    assert parameters(spec) == COUNTS[size]
    assert len(shapes(spec)) == 11 * count + 2  # 8 tensors a layer, three of them unfused
    assert spec.context == 2048


def test_a_real_openelm_config(assets: Path) -> None:
    config = read(assets / f"{FROM_CODE}/OpenELM-1_1B-Instruct-4bit.config.json")
    assert spec_of(config) == openelm("1.1b", [0.5, 4.0])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
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


def test_of_two_spellings_the_newer_one_counts(assets: Path) -> None:
    """A config that transformers 5 saved over an older one may hold both."""
    config = read(assets / f"{FROM_CODE}/onnx-tool.Llama3_8B.config.json")
    both = {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 1e4}
    newer = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    assert spec_of({**config, **both, **newer}) == spec_of(config)
