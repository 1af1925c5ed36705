"""The tokenizer of the reader: every letter of its world is a token, laid out as Phi-3's with InternVL's marks."""

import json
from typing import Any

from edge.data import sheets, vocabulary

SPECIAL = [
    "<|endoftext|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|user|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
]


def tokenizer() -> dict[str, Any]:
    """The content of tokenizer.json."""
    return vocabulary.built(sheets.alphabet(), [], SPECIAL)


def files() -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json."""
    made = tokenizer()
    tokens = {
        str(token["id"]): {k: v for k, v in token.items() if k != "id"}
        for token in made["added_tokens"]
    }
    config = {**vocabulary.config(), "added_tokens_decoder": tokens, "model_max_length": 1024}
    del config["chat_template"]  # InternVL's conversations are named in config.json
    both = {"tokenizer.json": made, "tokenizer_config.json": config}
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in both.items()
    }
