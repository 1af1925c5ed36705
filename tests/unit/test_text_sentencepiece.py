"""A tokenizer.model as a tokenizer.json: ids and text are those of the sentencepiece library."""

from pathlib import Path

import pytest
from support import converted, tiny

from edge.artifact import Artifact
from edge.errors import Damaged
from edge.text.tokenizer import Tokenizer
from edge.verify import verify

sentencepiece = pytest.importorskip("sentencepiece")

FOLDERS = ("llama-2", "mistral", "internlm2")
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
)


@pytest.fixture(scope="module", params=FOLDERS)
def pair(request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory):
    """A folder without tokenizer.json as we read it, and the library's own reading."""
    folder = tmp_path_factory.mktemp(request.param)
    for file in (assets / "tokenizers" / request.param).iterdir():
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


def test_the_names_that_internlm2_gives(assets: Path) -> None:
    tokenizer = Tokenizer.load(assets / "tokenizers/internlm2")
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>", special=False)
    assert (ids[0], ids[-1]) == (92543, 92542)
    assert 92542 in tokenizer.stop_ids


def test_an_artifact_needs_no_library(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny(tmp_path / "source", vocab_size=32000)
    model = assets / "tokenizers/mistral/tokenizer.model"
    (source / "tokenizer.model").write_bytes(model.read_bytes())
    artifact = Artifact.open(converted(tmp_path / "it", source, "int4"))
    assert verify(artifact, source, tokens=4).same_tokens
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    assert Tokenizer.load(artifact.folder).encode("Hello", special=True)[0] == 1


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff" * 1000])
def test_a_broken_model_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(Damaged, match=r"tokenizer\.model"):
        Tokenizer.load(tmp_path)
