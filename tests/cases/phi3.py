"""Phi-3: transformers has it."""

from references import transformers

from cases import PLAIN, Case

FACTORS = {
    f"{name}_factor": [by + 0.3 * i for i in range(8)] for name, by in (("short", 1), ("long", 2))
}
CASE = Case(
    tiny={"model_type": "phi3", **PLAIN, "sliding_window": 9},
    reference=transformers,
    variants={
        "phi3": {"partial_rotary_factor": 0.5},
        "phi3, short": {
            "rope_scaling": {"type": "longrope", "attention_factor": 1.3, **FACTORS},
            "original_max_position_embeddings": 64,
        },
        "phi3, long": {
            "rope_scaling": {"type": "longrope", **FACTORS},
            "original_max_position_embeddings": 24,
        },
    },
    own="Phi3Config",
)
