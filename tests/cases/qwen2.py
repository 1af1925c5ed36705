"""Qwen2 and Qwen2.5: transformers has them."""

from references import transformers

from cases import PLAIN, Case, sized

# How the published tokenizers split a text, once it is in NFC.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WINDOW = {"use_sliding_window": True, "sliding_window": 7}
# arXiv 2407.10671 table 1, 2412.15115 table 1; contexts from the configs and their cards.
SIZES = {  # layers, width, heads and kv heads, feed-forward, rows, tied
    "0.5b": (24, 896, (14, 2), 4864, 151936, True),
    "1.5b": (28, 1536, (12, 2), 8960, 151936, True),
    "3b": (36, 2048, (16, 2), 11008, 151936, True),
    "7b": (28, 3584, (28, 4), 18944, 152064, False),
    "14b": (48, 5120, (40, 8), 13824, 152064, False),
    "32b": (64, 5120, (40, 8), 27648, 152064, False),
    "72b": (80, 8192, (64, 8), 29568, 152064, False),
}
PUBLISHED = {
    f"{model}-{size}-instruct": sized(
        "qwen2",
        layers=layers,
        width=width,
        heads=heads,
        ffn=ffn,
        vocab=rows,
        context=32768,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
        use_sliding_window=False,
    )
    for model, sizes in (("qwen2", ("0.5b", "1.5b", "7b", "72b")), ("qwen2.5", tuple(SIZES)))
    for size, (layers, width, heads, ffn, rows, tied) in SIZES.items()
    if size in sizes
}
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
    published=PUBLISHED,
    counted={"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0},
    changes={
        "use_sliding_window": False,
        "max_window_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"],
    },
)
