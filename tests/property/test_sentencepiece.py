"""A tokenizer.model is read as its library reads it, or refused by name: for any pieces and texts."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sentencepieces import Row, letters, trained, written

from edge.errors import Unsupported
from edge.text.tokenizer import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece")

SYMBOLS = "  ,<sep>,==,=,▁a"
MODELS = {
    "plain": {},
    "no prefix": {"add_dummy_prefix": False},
    "bytes": {"byte_fallback": True},
    "squeezed": {"remove_extra_whitespaces": True},
    "squeezed, no prefix": {"remove_extra_whitespaces": True, "add_dummy_prefix": False},
    "symbols": {"user_defined_symbols": SYMBOLS, "byte_fallback": True},
    "symbols, squeezed": {"user_defined_symbols": SYMBOLS[3:-3], "remove_extra_whitespaces": True},
    "letters": {"model_type": "char", "vocab_size": 60},
    "letters, symbols": {"model_type": "char", "vocab_size": 60, "user_defined_symbols": SYMBOLS},
    "across words": {"split_by_whitespace": False, "byte_fallback": True},
}
PARTS = (
    "the",
    "that",
    "a",
    "b",
    "é",
    "漢",
    "ß",
    "🙂",
    " ",
    "  ",
    "▁",
    "\n",
    "=",
    "<sep>",
    "<0x41>",
    "<",
)
LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.lists(st.sampled_from(PARTS) | LETTERS).map("".join)


def read(folder: Path, model: bytes) -> Tokenizer:
    (folder / "tokenizer.model").write_bytes(model)
    return Tokenizer.load(folder)


def library(model: bytes) -> "sentencepiece.SentencePieceProcessor":
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS.keys())
def test_any_text_is_cut_as_the_library_cuts_it(options: dict[str, object], tmp_path: Path) -> None:
    model = trained(**{"model_type": "bpe", **options})
    ours, theirs = read(tmp_path, model), library(model)

    @settings(max_examples=150)
    @given(TEXTS)
    @example("<sep><0x41>==<0x41>")  # names of bytes, alone between symbols
    def alike(text: str) -> None:
        ids = theirs.encode(text)
        assert ours.encode(text, special=False) == ids
        if theirs.unk_id() not in ids:  # which each shows in its own way
            assert ours.decode(ids, skip_special=False) == theirs.decode(ids)

    alike()


FEW = st.text("ab▁", min_size=2, max_size=4)
PIECES = st.dictionaries(
    FEW,
    st.tuples(st.integers(-6, 0).map(float), st.sampled_from((*[1] * 12, 4, 5))),
    max_size=9,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@example({"bb": (-1.0, 1), "▁▁": (-1.0, 1), "▁bb": (0.0, 1)}, ["  bb"], False)
@given(PIECES, st.lists(st.text("aab c", max_size=12), min_size=5, max_size=5), st.booleans())
def test_pieces_of_any_scores_and_types_are_read_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: dict[str, tuple[float, int]],
    texts: list[str],
    prefix: bool,
) -> None:
    """Scores that are equal, pieces that no merges make, unused ones on the way to others."""
    rows: list[Row] = [(text, *rest) for text, rest in pieces.items()]
    model = written([*letters(["ab▁"]), *rows], prefix=prefix)
    theirs = library(model)
    try:
        ours = read(tmp_path_factory.mktemp("pieces"), model)
    except Unsupported:
        return
    for text in texts:
        assert ours.encode(text, special=False) == theirs.encode(text), text
