"""Mistral v0.1 and v0.2, and FILM-7B (arXiv 2310.06825, 2404.16811): Llama with a window."""

from dataclasses import replace

from edge.families import llama

FAMILY = replace(
    llama.FAMILY,
    name="mistral",
    model_types=("mistral",),
    spec=llama.windowed,
    known_as={"genai": "mistral", "gguf": "llama"},
)
