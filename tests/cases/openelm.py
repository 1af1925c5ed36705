"""OpenELM: the paper's equations in loops."""

from references import openelm

from cases import VOCAB, Case

OWN = {
    "vocab_size": 32000, "max_context_length": 2048, "num_transformer_layers": 12,
    "model_dim": 2048, "head_dim": 128, "qkv_multipliers": 1.0, "num_query_heads": None,
    "num_kv_heads": None, "num_gqa_groups": 1, "ffn_multipliers": 4.0, "ffn_with_glu": True,
    "ffn_dim_divisor": 256, "activation_fn_name": "swish", "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": False, "share_input_output_layers": False,
    "rope_freq_constant": 10000, "rope_max_length": 4096, "initializer_range": 0.02,
    "use_cache": True, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TINY = {
    "model_type": "openelm",
    "vocab_size": VOCAB,
    "model_dim": 64,
    "head_dim": 16,
    "num_transformer_layers": 3,
    "num_query_heads": [4, 8, 12],
    "num_kv_heads": [1, 2, 3],
    "ffn_multipliers": [0.5, 1.25, 2.0],
    "ffn_dim_divisor": 32,
    "ffn_with_glu": True,
    "activation_fn_name": "swish",
    "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": True,
    "share_input_output_layers": True,
    "rope_freq_constant": 10000,
    "max_context_length": 64,
}
CASE = Case(
    tiny=TINY,
    reference=openelm,
    variants={"openelm": {}, "openelm, untied": {"share_input_output_layers": False}},
    own=OWN,
    counted={  # heads by the published rule, so that each part of it can contradict them
        "qkv_multipliers": [1.0, 3.0],
        "num_gqa_groups": 4,
        "num_query_heads": [4, 8, 12],
    },
)
