"""InternLM2: transformers' Llama, once wqkv is taken apart by hand."""

from references import internlm2

from cases import PLAIN, Case

OWN = {
    "vocab_size": 103168, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": None, "hidden_act": "silu",
    "max_position_embeddings": 2048, "initializer_range": 0.02, "rms_norm_eps": 1e-6,
    "use_cache": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "pretraining_tp": 1, "tie_word_embeddings": False, "bias": True, "rope_theta": 10000,
    "rope_scaling": None, "attn_implementation": None,
}  # fmt: skip
CASE = Case(
    tiny={"model_type": "internlm2", **PLAIN, "bias": False},
    reference=internlm2,
    variants={"internlm2": {}},
    own=OWN,
)
