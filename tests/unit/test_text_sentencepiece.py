"""A tokenizer.model as a tokenizer.json: ids and text are those of the sentencepiece library."""

from pathlib import Path

import pytest
from sentencepieces import block, letters, number, trained, written
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, Unsupported
from edge.prove.verify import verify
from edge.text.tokenizer import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece")

FOLDERS = ("mistral",)  # and others in tests/parity/test_large_vocabularies.py
TEXTS = (
    "",
    " ",
    "Hello, world!",
    "  two  blanks  ",
    "line\nbreak\t tab\r\n",
    "Ünïcödé naïve 漢字 हिन्दी العربية",
    "🙂👩‍👩‍👧 \x07\u200b\ufeff",
    "1234567890 3.14e-10 0x1F",
    "def f(x):\n    return x ** 2  # a comment",
    "\u2581 a blank of its own",
    "ＡＥＦ…………[UNUSED_TOKEN_7]] [UNUSED_TOKEN_12]——\0<0x41>",  # InternLM2's symbols are among these
)


@pytest.fixture(scope="module", params=FOLDERS)
def pair(request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory):
    return read_by_both(assets / "tokenizers" / request.param, tmp_path_factory.mktemp("it"))


def read_by_both(source: Path, folder: Path):
    """A folder without tokenizer.json as we read it, and the library's own reading."""
    for file in source.iterdir():
        if file.name != "tokenizer.json":
            (folder / file.name).write_bytes(file.read_bytes())
    library = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    return Tokenizer.load(folder), library


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_the_librarys(pair, text: str) -> None:
    ours, library = pair
    assert ours.encode(text, special=False) == library.encode(text)
    assert ours.decode(library.encode(text)) == library.decode(library.encode(text))


def test_a_real_text(pair, assets: Path) -> None:
    ours, library = pair
    lines = (assets / "text/wikitext-2-raw/wiki.test.raw").read_text().splitlines()[:400]
    lines += (assets / "text/gutenberg/war-and-peace.txt").read_text().splitlines()[:400]
    for line in lines:
        assert ours.encode(line, special=False) == library.encode(line), line


def test_bos_leads_a_text(pair) -> None:
    ours, library = pair
    assert ours.encode("a", special=True)[0] == library.bos_id() == ours.bos_id


def test_an_artifact_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny(tmp_path / "source", vocab_size=400, num_hidden_layers=1)
    model = trained(model_type="bpe", byte_fallback=True, vocab_size=399)
    (source / "tokenizer.model").write_bytes(model)
    artifact = Artifact.open(converted(tmp_path / "it", source, "int4"))
    assert verify(artifact, source, tokens=4).same_tokens
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    assert Tokenizer.load(artifact.folder).encode("Hello", special=True)[0] == 1


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff" * 1000])
def test_a_broken_model_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(Damaged, match=r"tokenizer\.model"):
        Tokenizer.load(tmp_path)


ABC = letters(["abc"])
REFUSED = {
    "is of the type unigram": trained(model_type="unigram"),
    "is of the type word": trained(model_type="word"),
    "normalizes text by the table 'nmt_nfkc'": trained(normalization_rule_name="nmt_nfkc", model_type="bpe"),
    "by the table 'back'": written(ABC, block(5, block(1, b"back") + block(2, b"\0\4" + bytes(1027)))),
    "puts a blank at the end": trained(treat_whitespace_as_suffix=True, model_type="bpe"),
    "keeps blanks as they are": written(ABC, block(3, number(5, 0))),
    "keeps blanks in user-defined symbols": written([*ABC, ("a b", 0.0, 4)], block(3, number(4, 1))),
    "symbols of more than": written([(f"<{i}{'x' * 400}>", 0.0, 4) for i in range(200)]),
    "control piece of one letter": written([("a", 0.0, 3)]),
    "the letter 'b', which is no piece": written([*letters(["a"]), ("ab", -1.0, 1)]),
    "the unused piece 'ab' can be joined": written([*ABC, ("ab", -1.0, 5), ("abc", -2.0, 1)]),
    "of the same score meet in 'abc'": written([*ABC, ("bc", -1.0, 1), ("ab", -1.0, 1)]),
    "the piece 'abb' is likelier than a half": written(
        [*ABC, ("bb", -1.0, 1), ("ca", -1.0, 1), ("abb", 0.0, 1)]
    ),
    "too many of its pieces have the same score": written(
        [*ABC, *((f"{i:0300}", -1.0, 1) for i in range(100))]
    ),
    "a piece's score is no number": written([*ABC, ("ab", float("nan"), 1)]),
    "the piece 'abc', which no merges make": written([*ABC, ("abc", -1.0, 1), ("<x>", 0.0, 4)]),
    "the piece '<0', which is like a byte's": written(
        [*letters(["<0"]), ("<0", -1.0, 1), ("<x>", 0.0, 4)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_read_exactly_is_refused_by_name(tmp_path: Path, problem: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(REFUSED[problem])
    with pytest.raises(Unsupported, match=problem) as caught:
        Tokenizer.load(tmp_path)
    assert "save_pretrained" in (caught.value.fix or "")


LIES = {
    "not just one piece stands for what is unknown": written([("<other>", 0.0, 2)]),
    "a piece is empty or appears twice": written([("a", 0.0, 1), ("a", -1.0, 1)]),
    "each of the 256 bytes": written([("<0x41>", 0.0, 6)], block(2, number(35, 1))),
    "a piece holds a zero byte": written([("a\0", 0.0, 1)]),
    "more than 512 letters": written([("a" * 513, 0.0, 1)]),
}


@pytest.mark.parametrize("problem", LIES)
def test_a_model_that_the_library_refuses_is_damaged(tmp_path: Path, problem: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(LIES[problem])
    with pytest.raises(Damaged, match=problem):
        Tokenizer.load(tmp_path)


def test_a_model_needs_no_library_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(trained(model_type="bpe", bos_piece="<begin>"))
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.adds_bos
    assert tokenizer.encode("the cat", special=True)[0] == 1
