"""Qwen2 and Qwen2.5: transformers has them."""

from references import transformers

from cases import PLAIN, Case

# How the published tokenizers split a text, once it is in NFC.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WINDOW = {"use_sliding_window": True, "sliding_window": 7}
CASE = Case(
    tiny={"model_type": "qwen2", **PLAIN, "use_sliding_window": False},
    reference=transformers,
    variants={
        "qwen2": {"rms_norm_eps": 0.05},
        "qwen2, tied": {"tie_word_embeddings": True, "rope_theta": 1e6},
        "qwen2, a window of the upper layers": {**WINDOW, "max_window_layers": 1},
        "qwen2, a window by types": {
            **WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    },
    own="Qwen2Config",
    changes={
        "use_sliding_window": True,
        "max_window_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"],
    },
)
