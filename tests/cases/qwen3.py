"""Qwen3: transformers has it."""

from references import transformers

from cases import PLAIN, Case, sized

WINDOW = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
# Of the models that were trained after the base ones.
SIZES = {  # layers, width, heads and kv heads, feed-forward, tied
    "0.6b": (28, 1024, (16, 8), 3072, True),
    "1.7b": (28, 2048, (16, 8), 6144, True),
    "4b": (36, 2560, (32, 8), 9728, True),
    "8b": (36, 4096, (32, 8), 12288, False),
    "14b": (40, 5120, (40, 8), 17408, False),
    "32b": (64, 5120, (64, 8), 25600, False),
}
PUBLISHED = {
    f"qwen3-{size}": sized(
        "qwen3",
        layers=layers,
        width=width,
        heads=heads,
        ffn=ffn,
        vocab=151936,
        context=40960,
        head_dim=128,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
        use_sliding_window=False,
    )
    for size, (layers, width, heads, ffn, tied) in SIZES.items()
}
CASE = Case(
    tiny={"model_type": "qwen3", **PLAIN, "head_dim": 32, "use_sliding_window": False},
    reference=transformers,
    variants={
        "qwen3": {"rms_norm_eps": 0.05},
        "qwen3, tied, biases of attention": {"tie_word_embeddings": True, "attention_bias": True},
        "qwen3, a window of the upper layers": WINDOW,
    },
    own="Qwen3Config",
    counted={
        "head_dim": 16,
        "use_sliding_window": True,
        "sliding_window": 7,
        "max_window_layers": 0,
    },
    changes={
        "head_dim": 48,
        "attention_bias": True,
        "use_sliding_window": False,
        "max_window_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    published=PUBLISHED,
)
