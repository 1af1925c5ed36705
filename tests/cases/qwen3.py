"""Qwen3: transformers has it."""

from references import transformers

from cases import PLAIN, Case

WINDOW = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
CASE = Case(
    tiny={"model_type": "qwen3", **PLAIN, "head_dim": 32, "use_sliding_window": False},
    reference=transformers,
    variants={
        "qwen3": {"rms_norm_eps": 0.05},
        "qwen3, tied, biases of attention": {"tie_word_embeddings": True, "attention_bias": True},
        "qwen3, a window of the upper layers": WINDOW,
    },
    own="Qwen3Config",
)
