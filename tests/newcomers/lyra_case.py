"""Lyra's case, as a newcomer writes it in tests/cases: transformers' Qwen2 without biases of the keys."""

from collections.abc import Sequence

import numpy as np
from cases import PLAIN, Case, Fields, Weights, sized
from references import transformers


def lyra(config: Fields, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    whole = dict(weights)
    for name, matrix in weights.items():
        if name.endswith("k_proj.weight"):
            whole[name.replace("weight", "bias")] = np.zeros(len(matrix), np.float32)
    return transformers({**config, "model_type": "qwen2"}, whole, ids)


OWN = {
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")),
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
CASE = Case(
    tiny={"model_type": "lyra", **PLAIN},
    reference=lyra,
    variants={"lyra": {}, "lyra, tied": {"tie_word_embeddings": True}},
    own=OWN,
    published={
        "lyra-1b": sized(
            "lyra", layers=16, width=2048, heads=(32, 8), ffn=8192, vocab=32000, context=4096
        )
    },
)
