"""Vega's case, as a newcomer writes it in tests/cases: transformers' Qwen2, once its tensors are taken
apart by hand.
"""

from collections.abc import Sequence

import numpy as np
from cases import PLAIN, Case, Fields, Weights, sized
from references import transformers


def vega(config: Fields, weights: Weights, ids: Sequence[int]) -> np.ndarray:
    width = config["hidden_size"] // config["num_attention_heads"]
    queries, keys = (config[f"num_{k}_heads"] * width for k in ("attention", "key_value"))
    apart: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if "qkv_proj" in name:
            parts = np.split(value, [queries, queries + keys])
            apart |= {name.replace("qkv", p): v for p, v in zip("qkv", parts, strict=True)}
        elif "gate_up_proj" in name:
            gate, up = np.split(value, 2)
            apart |= {name.replace("gate_up", "gate"): gate, name.replace("gate_up", "up"): up}
        else:
            apart[name] = value
    return transformers({**config, "model_type": "qwen2"}, apart, ids)


OWN = {
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")),
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
CASE = Case(
    tiny={"model_type": "vega", **PLAIN},
    reference=vega,
    variants={"vega": {}},
    own=OWN,
    published={
        "vega-1b": sized(
            "vega", layers=16, width=2048, heads=(32, 8), ffn=8192, vocab=32000, context=4096
        )
    },
)
