"""The tokenizer of a small model that points: every word of made scenes is a token, laid out as Llama's with Groma's
tokens behind it; whatever else is text falls apart into letters and bytes.
"""

import json
import string
from typing import Any

from edge.data import vocabulary
from edge.data.regions.talks import words
from edge.data.vocabulary import SPACE
from edge.text.pointing import SYSTEM, TOKENS, shown


def tokenizer() -> dict[str, Any]:
    """The content of tokenizer.json."""
    letters = sorted(set(string.printable) - set(string.whitespace))
    return vocabulary.built(letters, [SPACE + word for word in _words()], TOKENS)


def old() -> int:
    """How many ids there are before Groma's own."""
    return len(tokenizer()["model"]["vocab"])


def files() -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json, as transformers and tokenizers read them."""
    fields = {
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "[PAD]",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    both = {"tokenizer.json": tokenizer(), "tokenizer_config.json": fields}
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in both.items()
    }


def _words() -> list[str]:
    """As they are said, and as a sentence begins with them; and those that every conversation has."""
    said = {form for word in words() for form in (word, word.capitalize(), word.upper()[:1])}
    always = " ".join([SYSTEM, "USER: ASSISTANT:", *(turn.content for turn in shown(0, 0))])
    plain = "".join(letter if letter.isalpha() else " " for letter in always)
    return sorted(said | set(plain.split()) | set(string.digits))
