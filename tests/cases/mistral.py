"""Mistral: transformers has it."""

from references import transformers

from cases import PLAIN, Case

CASE = Case(
    tiny={"model_type": "mistral", **PLAIN, "sliding_window": 11},
    reference=transformers,
    variants={"mistral": {}},
    own="MistralConfig",
)
