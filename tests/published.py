"""What the published configs say that decides a model's size and context: facts of their papers and
config.json files, by id of the registry.
"""

from collections.abc import Mapping
from typing import Any

from cases import CASES, sized
from towers import TOWERS

Fields = Mapping[str, Any]

_LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def _phi3(fields: Fields, context: int) -> Fields:
    if context == 4096:
        return {**fields, "max_position_embeddings": 4096, "sliding_window": 2047}
    pairs = fields["hidden_size"] // fields["num_attention_heads"] // 2
    factors = {"short_factor": [1.0] * pairs, "long_factor": [2.0] * pairs}
    return {
        **fields,
        "max_position_embeddings": context,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", **factors},
        "sliding_window": 262144,
    }


def _phi3small(context: int) -> Fields:
    scaling = {
        "type": "su",
        "short_factor": [1.0] * 64,
        "long_factor": [2.0] * 64,
        "original_max_position_embeddings": 8192,
    }
    return {
        "model_type": "phi3small",
        "hidden_act": "gegelu",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "ff_intermediate_size": 14336,
        "vocab_size": 100352,
        "max_position_embeddings": context,
        "rope_scaling": scaling if context > 8192 else None,
    }


def openelm(size: str, multipliers: list[float] | None = None) -> Fields:
    """`multipliers`: of the feed-forward, one a layer, where not the two ends of the line."""
    numbers, heads, _ = OPENELM[size]
    return {
        "model_type": "openelm",
        "vocab_size": 32000,
        "num_query_heads": heads,
        "num_kv_heads": [count // 4 for count in heads],
        "ffn_multipliers": multipliers or [0.5, 4.0],
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


# arXiv 2404.14619: heads of each layer, feed-forward widths.
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

_MINI = sized("phi3", layers=32, width=3072, heads=(32, 32), ffn=8192, vocab=32064, context=4096)
_MEDIUM = sized("phi3", layers=40, width=5120, heads=(40, 10), ffn=17920, vocab=32064, context=4096)
_LLAMA2_7B = sized(
    "llama", layers=32, width=4096, heads=(32, 32), ffn=11008, vocab=32000, context=4096
)
_LLAMA2_13B = sized(
    "llama", layers=40, width=5120, heads=(40, 40), ffn=13824, vocab=32000, context=4096
)
_LLAMA2_70B = sized(
    "llama", layers=80, width=8192, heads=(64, 8), ffn=28672, vocab=32000, context=4096
)
_CODE = {"rope_theta": 1e6, "max_position_embeddings": 16384}
_CODELLAMA_7B = {**_LLAMA2_7B, **_CODE, "vocab_size": 32016}
_CODELLAMA_34B = {
    **_LLAMA2_70B, **_CODE, "num_hidden_layers": 48, "intermediate_size": 22016,
}  # fmt: skip
_LLAMA3_8B = sized(
    "llama", layers=32, width=4096, heads=(32, 8), ffn=14336, vocab=128256, context=8192
)
_LLAMA31_8B = {**_LLAMA3_8B, "max_position_embeddings": 131072, "rope_scaling": _LLAMA3_SCALING}
_LLAMA32 = {"rope_scaling": {**_LLAMA3_SCALING, "factor": 32.0}, "tie_word_embeddings": True}
_LLAMA32_1B = sized(
    "llama",
    layers=16,
    width=2048,
    heads=(32, 8),
    ffn=8192,
    vocab=128256,
    context=131072,
    **_LLAMA32,
)
_LLAMA32_3B = sized(
    "llama",
    layers=28,
    width=3072,
    heads=(24, 8),
    ffn=8192,
    vocab=128256,
    context=131072,
    **_LLAMA32,
)
_MISTRAL = sized(
    "mistral", layers=32, width=4096, heads=(32, 8), ffn=14336, vocab=32000, context=32768
)
_MISTRAL_1 = {**_MISTRAL, "sliding_window": 4096}
_MISTRAL_2 = {**_MISTRAL, "rope_theta": 1e6, "sliding_window": None}
_MISTRAL_3 = {**_MISTRAL_2, "vocab_size": 32768}
_INTERN = {"bias": False, "rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
_INTERNLM2 = {
    size: sized(
        "internlm2",
        layers=layers,
        width=width,
        heads=(heads, 8),
        ffn=ffn,
        vocab=92544,
        context=32768,
        **_INTERN,
    )
    for size, layers, width, heads, ffn in (
        ("1.8b", 24, 2048, 16, 8192),
        ("7b", 32, 4096, 32, 14336),
        ("20b", 48, 6144, 48, 16384),
    )
}


def _internvl(tower: str, text: str, scaling: float) -> Fields:
    """Nine tokens more than the language model's own, of which three are of pictures."""
    rope = {"type": "dynamic", "factor": scaling}
    return {
        "model_type": "internvl_chat",
        "vision_config": TOWERS["intern_vit"].published[f"internvit-{tower}-448px"][0],
        "llm_config": {**_INTERNLM2[text], "vocab_size": 92553, "rope_scaling": rope},
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 448,
        "max_dynamic_patch": 12,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internlm2-chat",
        "use_thumbnail": True,
    }


# As transformers 4.32 writes it: what its classes take anyway is left out, of each of the networks.
GROMA: Fields = {
    "model_type": "groma",
    "num_new_token": 114,
    "nms_thres": 0.6,
    "box_score_thres": 0.15,
    "max_region_num": 100,
    "vocab_size": 32_114,
    "llm_cfg": {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    "perceiver_cfg": {
        "model_type": "ddetr",
        "vis_output_layer": -1,
        "vis_encoder_cfg": {
            "model_type": "dinov2",
            "hidden_size": 1024,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "image_size": 518,
        },
        "ddetr_cfg": {
            "model_type": "deformable_detr",
            "num_feature_levels": 1,
            "two_stage": True,
            "with_box_refine": True,
            "id2label": {"0": "LABEL_0"},
        },
    },
}
PUBLISHED: Mapping[str, Fields] = {
    **{model: fields for case in CASES.values() for model, fields in case.published.items()},
    "phi-3-mini-4k": _phi3(_MINI, 4096),
    "phi-3-mini-128k": _phi3(_MINI, 131072),
    "phi-3.5-mini": _phi3(_MINI, 131072),
    "phi-3-small-8k": _phi3small(8192),
    "phi-3-small-128k": _phi3small(131072),
    "phi-3-medium-4k": _phi3(_MEDIUM, 4096),
    "phi-3-medium-128k": _phi3(_MEDIUM, 131072),
    **dict.fromkeys(("llama-2-7b", "llama-2-7b-chat", "vicuna-7b-v1.5"), _LLAMA2_7B),
    **dict.fromkeys(("llama-2-13b", "llama-2-13b-chat", "vicuna-13b-v1.5"), _LLAMA2_13B),
    **dict.fromkeys(("llama-3-8b", "llama-3-8b-instruct"), _LLAMA3_8B),
    **dict.fromkeys(("llama-3.1-8b", "llama-3.1-8b-instruct"), _LLAMA31_8B),
    **dict.fromkeys(("llama-3.2-1b", "llama-3.2-1b-instruct"), _LLAMA32_1B),
    **dict.fromkeys(("llama-3.2-3b", "llama-3.2-3b-instruct"), _LLAMA32_3B),
    "layerskip-llama2-7b": _LLAMA2_7B,
    "layerskip-llama2-13b": _LLAMA2_13B,
    "layerskip-llama2-70b": _LLAMA2_70B,
    "layerskip-codellama-7b": _CODELLAMA_7B,
    "layerskip-codellama-34b": _CODELLAMA_34B,
    "layerskip-llama3-8b": _LLAMA3_8B,
    "layerskip-llama3.2-1b": _LLAMA32_1B,
    **dict.fromkeys(("mistral-7b-v0.1", "mistral-7b-instruct-v0.1"), _MISTRAL_1),
    **dict.fromkeys(("mistral-7b-instruct-v0.2", "film-7b"), _MISTRAL_2),
    **dict.fromkeys(("mistral-7b-v0.3", "mistral-7b-instruct-v0.3"), _MISTRAL_3),
    **{f"openelm-{size}{kind}": openelm(size) for size in OPENELM for kind in ("", "-instruct")},
    **{
        f"internlm2-{size}{kind}": fields
        for size, fields in _INTERNLM2.items()
        for kind in ("", "-base", "-chat", "-chat-sft")
        if (size, kind) != ("1.8b", "-base")  # which is the plain one
    },
    "mini-internvl-2b": _internvl("300m", "1.8b", 2.0),
    "internvl-chat-v1.5": _internvl("6b", "20b", 3.0),
    "groma-7b": GROMA,
    **{name: fields for tower in TOWERS.values() for name, (fields, _) in tower.published.items()},
}
