"""Llama: transformers has it."""

from references import transformers

from cases import PLAIN, Case

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CASE = Case(
    tiny={"model_type": "llama", **PLAIN},
    reference=transformers,
    variants={
        "llama": {"rms_norm_eps": 0.05},
        "llama 3.1, tied": {"head_dim": 24, "rope_scaling": LLAMA3, "tie_word_embeddings": True},
        "llama, dynamic": {
            "max_position_embeddings": 24,
            "rope_scaling": {"type": "dynamic", "factor": 3.0},
        },
        "llama, biases of attention": {"attention_bias": True},
        "llama, biases of the feed-forward": {"mlp_bias": True},
    },
    own="LlamaConfig",
    changes={"attention_bias": True, "mlp_bias": True},
)
