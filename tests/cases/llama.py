"""Llama: transformers has it."""

from references import transformers

from cases import PLAIN, Case, sized

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SMOLLM2 = {
    "135m": sized(
        "llama", layers=30, width=576, heads=(9, 3), ffn=1536, vocab=49152, context=8192,
        rope_theta=1e5, tie_word_embeddings=True,
    ),
    "360m": sized(
        "llama", layers=32, width=960, heads=(15, 5), ffn=2560, vocab=49152, context=8192,
        rope_theta=1e5, tie_word_embeddings=True,
    ),
    "1.7b": sized(
        "llama", layers=24, width=2048, heads=(32, 32), ffn=8192, vocab=49152, context=8192,
        rope_theta=130000, tie_word_embeddings=True,
    ),
}  # fmt: skip
TINYLLAMA = sized(
    "llama", layers=22, width=2048, heads=(32, 4), ffn=5632, vocab=32000, context=2048
)
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
    published={
        **{f"smollm2-{size}-instruct": fields for size, fields in SMOLLM2.items()},
        "tinyllama-1.1b-chat": TINYLLAMA,
    },
    changes={"attention_bias": True, "mlp_bias": True},
)
