"""Streaming laws: pieces add up to the whole, and what was shown never changes."""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import Unsupported
from edge.text.stream import ByteLevel, SentencePiece, Stream, pieces_of
from edge.text.tokenizer import Tokenizer

FAST = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
FOLDERS = ("tokenizers/llama-2", "tokenizers/llama-3", "tokenizers/phi-3", "llm/stories-260k")
SPACE = st.sampled_from(("▁", " ", "▁▁▁"))
BYTE = st.integers(0, 255).map(lambda byte: f"<0x{byte:02X}>")
PIECE = st.one_of(SPACE, BYTE, st.text(max_size=3))


@cache
def tokenizer_at(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("skip", [True, False])
@settings(FAST)
@given(data=st.data())
def test_pieces_add_up_to_decode(
    assets: Path, folder: str, skip: bool, data: st.DataObject
) -> None:
    tokenizer = tokenizer_at(assets / folder)
    highest = tokenizer.vocab_size + 3  # some ids mean nothing
    ids = st.one_of(
        st.integers(0, 300), st.integers(0, highest), st.integers(highest - 20, highest)
    )
    tokens = data.draw(st.lists(ids, max_size=40))
    stream = tokenizer.stream(skip_special=skip)
    text = "".join([*map(stream.feed, tokens), stream.finish()])
    assert text == tokenizer.decode(tokens, skip_special=skip)


@pytest.mark.parametrize("folder", FOLDERS)
@settings(FAST)
@given(text=st.text(max_size=30))
def test_no_half_character_is_shown(assets: Path, folder: str, text: str) -> None:
    tokenizer = tokenizer_at(assets / folder)
    text = text.replace("\ufffd", "")
    stream = tokenizer.stream()
    shown = [stream.feed(token) for token in tokenizer.encode(text, special=False)]
    assert "\ufffd" not in "".join(shown)


@pytest.mark.parametrize("folder", FOLDERS)
def test_ascii_is_shown_at_once(assets: Path, folder: str) -> None:
    tokenizer = tokenizer_at(assets / folder)
    ids = tokenizer.encode("The dog ran to the big red barn.", special=False)
    stream = tokenizer.stream()
    for count, token in enumerate(ids, start=1):
        stream.feed(token)
        assert stream.pieces.finish() == "", f"held back after {ids[:count]}"


def library(decoder: object) -> object:
    """The `tokenizers` library's own decoder, given all the pieces at once."""
    import tokenizers

    empty = {"type": "BPE", "vocab": {}, "merges": []}
    whole = {"version": "1.0", "added_tokens": [], "model": empty, "decoder": decoder}
    return tokenizers.Tokenizer.from_str(json.dumps(whole)).decoder


REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 2, "stop": 0}
BYTES, FUSE = {"type": "ByteFallback"}, {"type": "Fuse"}
LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    "steps", [[REPLACE, BYTES, FUSE, STRIP], [REPLACE, BYTES, FUSE], [REPLACE, FUSE], [LEVEL]]
)
@settings(max_examples=150)
@given(pieces=st.lists(PIECE, max_size=25))
def test_any_pieces_decode_as_in_the_library(
    steps: list[dict[str, object]], pieces: list[str]
) -> None:
    decoder = {"type": "Sequence", "decoders": steps}
    ours = pieces_of(decoder)()
    text = "".join([*map(ours.feed, pieces), ours.finish()])
    assert text == library(decoder).decode(pieces)


@given(data=st.binary(max_size=60))
def test_bytes_are_shown_as_soon_as_they_are_a_character(data: bytes) -> None:
    """After each byte all is shown but the character that it leaves unfinished."""
    alphabet = {byte: char for char, byte in _table().items()}
    pieces = ByteLevel()
    shown = ""
    for count, byte in enumerate(data, start=1):
        shown += pieces.feed(alphabet[byte])
        whole = data[:count].decode(errors="replace")
        assert whole.startswith(shown)
        assert whole.rstrip("\ufffd") == shown.rstrip("\ufffd")
        assert len(whole) - len(shown) <= 2  # half a surrogate in UTF-8 is wrong twice over
    assert shown + pieces.finish() == data.decode(errors="replace")


def test_state_does_not_grow_with_the_text() -> None:
    """What a token costs cannot depend on the text before it: nothing of the text is kept."""
    pieces = SentencePiece([("▁", " ")], (" ", 1), byte_fallback=True)
    stream = Stream(lambda token: "<0x80>" if token % 3 else "▁word", pieces)
    for token in range(3000):
        stream.feed(token)
        assert len(pieces._run) <= 2


@pytest.mark.parametrize("decoder", [None, {"type": "WordPiece", "prefix": "##", "cleanup": True}])
def test_an_unknown_decoder_is_refused(decoder: dict[str, object] | None) -> None:
    with pytest.raises(Unsupported, match="cannot be streamed"):
        pieces_of(decoder)


def _table() -> dict[str, int]:
    from edge.text.stream import _BYTE_OF

    return _BYTE_OF
