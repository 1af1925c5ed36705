"""Hostile tokenizers: bombs, catastrophes, lies of a protobuf. One error, soon, in little memory."""

import json
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attack import refused
from fuzzing.readers import definitions, pieces

from edge.errors import Damaged, EdgeError, Unsupported
from edge.text import bounds
from edge.text.tokenizer import Tokenizer

SPM, BYTES = (json.loads(text) for text in definitions()[:2])
TEXT = "a" * 300 + "!"


def load(folder: Path, definition: dict[str, Any]) -> Tokenizer:
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    return Tokenizer.load(folder)


def with_pattern(pattern: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(BYTES))
    made["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}
    return made


@pytest.fixture
def little_memory() -> Callable[[], None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def check() -> None:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10

    return check


def test_the_honest_ones_work(tmp_path: Path) -> None:
    assert load(tmp_path, SPM).decode(load(tmp_path, SPM).encode("abc", special=True)) == "abc"
    assert load(tmp_path, BYTES).encode("a b", special=False)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(?=(a+)+$)a", "(\\w+\\s?)*$"]
)
def test_a_pattern_that_backtracks_for_ever(tmp_path: Path, pattern: str) -> None:
    """The library ends it, and panics: that is no exception of Python's."""
    tokenizer = load(tmp_path, with_pattern(pattern))
    with refused(Damaged, "the tokenizer fails on a text"):
        tokenizer.encode(TEXT, special=False)


def test_a_pattern_that_only_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each match stays below the library's limit, so the clock decides; Ctrl-C works meanwhile."""
    monkeypatch.setattr(bounds, "PATIENCE", 0.3)
    tokenizer = load(tmp_path, with_pattern(r"\w*\w*(?=\d\D)|q"))
    start = time.monotonic()
    with refused(Damaged, "still busy"):
        tokenizer.encode("a" * 900, special=False)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "pattern",
    ["(" * 5000 + ")" * 5000, "[" * 5000, "a{100001}", "\\p{Nonsense}", "(?<", "*"],
)
def test_a_pattern_that_is_a_bomb_or_none(
    tmp_path: Path, pattern: str, little_memory: Callable[[], None]
) -> None:
    with refused(Damaged, "tokenizer"):
        load(tmp_path, with_pattern(pattern)).encode(TEXT, special=False)
    little_memory()


def test_a_pattern_of_a_billion_letters(tmp_path: Path, little_memory: Callable[[], None]) -> None:
    with suppress(Damaged):
        load(tmp_path, with_pattern("(?:a{1000}){1000}{1000}")).encode(TEXT, special=False)
    little_memory()


DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
ANYWHERE = {"type": "Replace", "pattern": {"Regex": ""}, "content": "a" * 300}
LONG = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
BYTE = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GROWING: dict[str, dict[str, Any]] = {
    "doubling normalizers": {"normalizer": {"type": "Sequence", "normalizers": [DOUBLE] * 31}},
    "one long replacement": {"normalizer": LONG},
    "between all letters": {"normalizer": ANYWHERE},
    "nested": {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Sequence", "normalizers": [DOUBLE] * 5}] * 5}},
    "bytes of bytes": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTE] * 20}},
    "doubling decoders": {"decoder": {"type": "Sequence", "decoders": [DOUBLE] * 31}},
    "many steps": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1000}},
}  # fmt: skip


@pytest.mark.parametrize("part", GROWING.values(), ids=GROWING.keys())
def test_rules_that_make_a_text_longer_and_longer(
    tmp_path: Path, part: dict[str, Any], little_memory: Callable[[], None]
) -> None:
    with refused(Damaged, "rules that make a text"):
        load(tmp_path, SPM | part)
    little_memory()


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "model of nothing": lambda d: d.update(model={}),
    "negative id": lambda d: d["model"]["vocab"].update(a=-1),
    "huge id": lambda d: d["model"]["vocab"].update(a=1 << 40),
    "id of text": lambda d: d["model"]["vocab"].update(a="1"),
    "merge of strangers": lambda d: d["model"]["merges"].append(["zz", "yy"]),
    "merge of three": lambda d: d["model"]["merges"].append(["a", "b", "a"]),
    "unknown decoder": lambda d: d.update(decoder={"type": "Evil"}),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_definitions_that_lie(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    definition = json.loads(json.dumps(SPM))
    change(definition)
    with refused(Damaged, "tokenizer.json"):
        load(tmp_path, definition)


@pytest.mark.parametrize("depth", [200, 5000, 500_000])
@pytest.mark.parametrize("part", ["normalizer", "decoder", "model"])
def test_deep_definitions(tmp_path: Path, part: str, depth: int) -> None:
    names = '"normalizers": [' if part == "normalizer" else '"decoders": ['
    deep = ('{"type": "Sequence", ' + names) * depth + "]}" * depth
    text = json.dumps(SPM | {part: "here"}).replace('"here"', deep)
    (tmp_path / "tokenizer.json").write_text(text)
    with refused(Damaged, "tokenizer.json"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_of_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(5 << 30)
    with refused(Damaged, "larger than"):
        Tokenizer.load(tmp_path)


def test_a_piece_that_is_missing_when_it_is_needed(tmp_path: Path) -> None:
    vocab = [["a", 0.0], ["b", -1.0]]
    definition = SPM | {
        "added_tokens": [],
        "model": {"type": "Unigram", "unk_id": None, "vocab": vocab},
    }
    with refused(Damaged, "fails on a text"):
        load(tmp_path, definition).encode("xyz", special=False)


TOKEN = {"content": "<|x|>", "special": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "id of 5000 digits": {"added_tokens_decoder": {"9" * 5000: TOKEN}},
    "id of other digits": {"added_tokens_decoder": {"\u0661": TOKEN}},
    "negative id": {"added_tokens_decoder": {"-1": TOKEN}},
    "id of a gap": {"added_tokens_decoder": {"99999999": TOKEN}},
    "half a character": {"added_tokens_decoder": {"285": {"content": "\ud800"}}},
    "half a name": {"eos_token": "\ud800"},
    "flags of text": {"added_tokens_decoder": {"285": {**TOKEN, "lstrip": "yes"}}},
    "named by a list": {"bos_token": ["<s>"]},
    "deep": {"bos_token": None},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_lie(tmp_path: Path, name: str) -> None:
    text = json.dumps(SETTINGS[name])
    text = text.replace("null", "[" * 50_000 + "]" * 50_000) if name == "deep" else text
    (tmp_path / "tokenizer_config.json").write_text(text)
    with refused(Damaged, "tokenizer"):
        load(tmp_path, SPM)


@pytest.mark.parametrize("value", [10**30, [2, 10**30], "2", 1.5, True, [[2]]])
def test_an_id_that_is_none(tmp_path: Path, value: Any) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with refused(Damaged, "eos_token_id"):
        load(tmp_path, SPM)


# tokenizer.model: a protobuf whose field 1 is a piece: text 1, score 2 (a float), type 3


def piece(text: bytes, kind: int = 1) -> bytes:
    body = b"\x0a" + size(len(text)) + text + b"\x15\0\0\0\0" + b"\x18" + bytes([kind])
    return b"\x0a" + size(len(body)) + body


def size(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + size(value >> 7)


PIECES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"hello",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "length of everything": lambda whole: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + whole,
    "negative length": lambda whole: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + whole,
    "length past the end": lambda whole: b"\x0a\xff\x7f" + whole[:50],
    "not UTF-8": lambda whole: whole + piece(b"\xff\xfe\xb0"),
    "a piece of a million": lambda whole: whole + piece(b"ab" * 500_000),
    "two unknowns": lambda whole: whole + piece(b"<other>", kind=2),
    "a kind of nothing": lambda whole: whole + piece(b"x", kind=99),
    "deep": lambda whole: whole + b"\x0b" * 100_000,
}


@pytest.mark.parametrize("change", PIECES.values(), ids=PIECES.keys())
def test_pieces_that_lie(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.model").write_bytes(change(pieces()[0]))
    with pytest.raises((Damaged, Unsupported)) as caught:
        Tokenizer.load(tmp_path)
    assert "tokenizer" in str(caught.value)


def test_a_model_file_of_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.model").open("wb") as file:
        file.truncate(5 << 30)
    with refused(Damaged, "larger than"):
        Tokenizer.load(tmp_path)


def test_half_a_character_is_the_user_s_mistake(tmp_path: Path) -> None:
    with refused(EdgeError, "surrogate"):
        load(tmp_path, SPM).encode("\ud800", special=False)
