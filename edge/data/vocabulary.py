"""The tokenizer of the small world: BPE with byte fallback, laid out as Phi-3's, built without training.

A word of the world is one token, a name or a place two; whatever else is text falls apart into letters and bytes. Every
piece is merged from its front, so that a reader of SentencePiece scores and one of merges agree.
"""

import json
import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from edge.data import questions, stories, world

SPACE = "\u2581"  # what a space is inside a token
PLACEHOLDERS = [f"<|placeholder{i}|>" for i in range(1, 7)]
SPECIAL = [
    "<|endoftext|>",
    "<|assistant|>",
    *PLACEHOLDERS[:4],
    "<|system|>",
    "<|end|>",
    *PLACEHOLDERS[4:],
    "<|user|>",
]
ALIGN = 64  # rows of the embedding are a multiple of this
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def files() -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json, as transformers and tokenizers read them."""
    both = {"tokenizer.json": tokenizer(), "tokenizer_config.json": config()}
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in both.items()
    }


def rows(built: dict[str, Any]) -> int:
    """Rows of the embedding: padding rows included."""
    count = len(built["model"]["vocab"]) + sum(
        token["content"] not in built["model"]["vocab"] for token in built["added_tokens"]
    )
    return -(-count // ALIGN) * ALIGN


def tokenizer() -> dict[str, Any]:
    """The content of tokenizer.json."""
    return built(sorted(set(string.printable) - set(string.whitespace)), _pieces(), SPECIAL)


def built(letters: Sequence[str], pieces: Iterable[str], special: Sequence[str]) -> dict[str, Any]:
    """A tokenizer.json of these letters, of pieces that are merged from them, and of special tokens."""
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *letters]
    merges = list(dict.fromkeys(chain.from_iterable(_merges(piece) for piece in pieces)))
    vocab += list(dict.fromkeys(left + right for left, right in merges))
    added = [*enumerate(vocab[:3]), *enumerate(special, start=len(vocab))]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(index, token) for index, token in added],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(vocab)},
            "merges": [list(pair) for pair in merges],
        },
    }


def config() -> dict[str, Any]:
    """The content of tokenizer_config.json."""
    return {
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(token.pop("id")): token for token in tokenizer()["added_tokens"]
        },
        "bos_token": "<s>",
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }


def _added(index: int, token: str) -> dict[str, Any]:
    """Phi-3's chat tokens swallow the line break that follows them."""
    return {
        "id": index,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": token.startswith("<|") and token != "<|endoftext|>",
        "normalized": False,
        "special": True,
    }


def _merges(piece: str) -> Iterator[tuple[str, str]]:
    """A piece grows from its front, letter by letter: ("k", "i"), ("ki", "t"), ..."""
    return ((piece[:end], piece[end]) for end in range(1, len(piece)))


def _pieces() -> list[str]:
    """Whole words first, tails last: a tail must not take letters of the head before it."""
    heads = sorted({*_words(), *world.NAME_HEADS, *world.PLACE_HEADS})
    tails = sorted(
        {*world.NAME_TAILS, *world.PLACE_TAILS, "'s"}, key=lambda tail: (-len(tail), tail)
    )
    return [*(SPACE + head for head in heads), *tails]


def _words() -> set[str]:
    """Every word that a story, a question or an answer may use, names and places aside."""
    someone = world.Person(name="", kind="", colour="", thing="", place="")
    lines = [
        *stories.OPENINGS, *stories.ADJECTIVES, *stories.HABITS, *stories.SPOTS, *stories.OUTINGS,
        *stories.MEETINGS, *chain.from_iterable(stories.TROUBLES), *stories.ENDINGS_TOGETHER,
        *stories.ENDINGS_ALONE, "The end.", *world.COLOURS, *world.THINGS, *world.KINDS,
        stories.owns(someone), stories.lives(someone), *questions.REQUESTS, questions.RETELL,
    ]  # fmt: skip
    for kind in questions.KINDS:
        lines += [questions.ask(kind, someone, someone).text]
    words = " ".join(lines).replace("'s", "").split()
    return {word.strip(".,?") for word in words if "{" not in word} - {""}
