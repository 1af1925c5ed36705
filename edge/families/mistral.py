"""Mistral v0.1 and v0.2, and FILM-7B (arXiv 2310.06825, 2404.16811): Llama with a window."""

from dataclasses import replace

from edge.families import llama
from edge.families._fields import PLAIN, Fields, words

FAMILY = replace(
    llama.FAMILY,
    name="mistral",
    model_types=("mistral",),
    fields=PLAIN
    | Fields(
        read=words("sliding_window"),
        absent={
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
    ),
    decoder=llama.windowed,
    known_as={"genai": "mistral", "gguf": "llama"},
)
