"""A file of ranks as a tokenizer.json: ids and text are those of the tiktoken library."""

import base64
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, EdgeError, Unsupported
from edge.prove.verify import verify
from edge.text import ranks
from edge.text.tokenizer import Tokenizer
from edge.text.vocabulary import vocabulary_of

tiktoken = pytest.importorskip("tiktoken")

CONFIG = (
    '{"tokenizer_class": "Phi3SmallTokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",'
    ' "chat_template": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\\n{{ m.content }}<|end|>\\n'
    '{% endfor %}{% if add_generation_prompt %}<|assistant|>\\n{% endif %}"}'
)
TEXTS = (
    "",
    " ",
    "Hello, world!",
    "  two  blanks  ",
    "line\nbreak\t tab\r\n\r\n  \n x \n",
    "I'LL don't we'Ve 'tis it'ſ x'ſt 'ﬆ O'Neill''s",
    "1234567890 3.14e-10 0x1F ٣٤٥٦ ½²",
    "Ünïcödé naïve 漢字かな交じり हिन्दी العربية",
    "🙂👩‍👩‍👧 \x07\u200b\ufeff\u00a0\u3000\u2028\x85",
    "def f(x):\n    return x ** 2  # a comment\n\n\n\t\tpass",
    "<|user|>\nHi<|end|>\n<|assistant|>\n<|endoftext|><|dummy_id_3|><|fim_middle|>",
    "<|user |><|End|><|dummy_id_0|><|dummy_id_2|><|dummy_id_11|><|dummy_id_86|><|dummy_id_87|>",
    "x'table x'st x'really x'venue x'ment x'lloyd x'de x'Table x'REally",
    "=" * 300 + " " * 200 + "a" * 257,
)


@pytest.fixture(scope="module")
def folder(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    source = assets / "tokenizers" / "cl100k_base.tiktoken"
    (folder / source.name).write_bytes(source.read_bytes())
    (folder / "tokenizer_config.json").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def library(folder: Path) -> "tiktoken.Encoding":
    """As the published tokenizer makes it, with its own words for the rule and its own numbers."""
    lines = (folder / "cl100k_base.tiktoken").read_bytes().splitlines()
    pairs = (line.split() for line in lines)
    special = {
        "<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260, "<|system|>": 100261, "<|user|>": 100262,
        "<|assistant|>": 100263, "<|dummy_id_0|>": 100264, "<|dummy_id_1|>": 100265,
        "<|end|>": 100266, "<|dummy_id_2|>": 100256, "<|endofprompt|>": 100276,
        **{f"<|dummy_id_{3 + i}|>": 100267 + i for i in range(9)},
        **{f"<|dummy_id_{11 + i}|>": 100276 + i for i in range(1, 76)},
    }  # fmt: skip
    return tiktoken.Encoding(
        name="cl100k",
        pat_str=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in pairs},
        special_tokens=special,
    )


def ids(library: "tiktoken.Encoding", text: str) -> list[int]:
    found: list[int] = library.encode(text, allowed_special="all")
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_the_librarys(ours: Tokenizer, library: "tiktoken.Encoding", text: str) -> None:
    assert ours.encode(text, special=False) == ids(library, text)
    assert ours.decode(ids(library, text), skip_special=False) == text


def test_real_texts(ours: Tokenizer, library: "tiktoken.Encoding", assets: Path) -> None:
    files = ["wikitext-2-raw/wiki.test.raw", "gutenberg/war-and-peace.txt"]
    files += ["film/VaLProbing__pieces__code_functions.jsonl", "paul-graham/avg.txt"]
    for file in files:
        text = (assets / "text" / file).read_text(errors="replace")[:400_000]
        assert ours.encode(text, special=False) == ids(library, text), file


def test_every_character(ours: Tokenizer, library: "tiktoken.Encoding") -> None:
    """Which are letters, numbers and blanks is a question of the Unicode tables of two libraries."""
    small = [*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x1FC00)]
    large = [*range(0x3400, 0xA000, 31), *range(0xAC00, 0xD800, 31), *range(0x1FC00, 0x110000, 97)]
    every = [chr(c) for c in (*small, *large)]
    for at in range(0, len(every), 4096):
        text = "".join(f"a{c}b {c}{c} 1{c}\n" for c in every[at : at + 4096])
        assert ours.encode(text, special=False) == ids(library, text), hex(ord(every[at]))


def test_texts_made_of_tokens(ours: Tokenizer, library: "tiktoken.Encoding", folder: Path) -> None:
    """Tokens put side by side join in other ways; repeated ones could join in two."""
    rng = random.Random(0)
    words = list(ranks.read(folder / "cl100k_base.tiktoken"))
    for text in (*_joined(rng, words), *_overlapping(words)):
        assert ours.encode(text, special=False) == ids(library, text), repr(text)


def _joined(rng: random.Random, words: list[bytes]) -> Iterator[str]:
    for _ in range(3000):
        count = rng.randint(1, 9)
        yield b"".join(rng.choice(words) for _ in range(count)).decode(errors="ignore")


def _overlapping(words: list[bytes]) -> Iterator[str]:
    """a + b + c where a + b and b + c are one token."""
    for word in words:
        for size in range(1, len(word)):
            if word.endswith(word[:size]):
                yield (word[:-size] + word).decode(errors="ignore")


def test_stream_and_special_ids(ours: Tokenizer) -> None:
    assert (ours.vocab_size, ours.bos_id, ours.adds_bos) == (100352, 100257, False)
    assert ours.stop_ids == {100257, 100266}
    stream = ours.stream()
    found = ours.encode("漢字 and 🙂 <|end|>", special=True)
    pieces = [stream.feed(token) for token in found] + [stream.finish()]
    assert "".join(pieces) == ours.decode(found) == "漢字 and 🙂 "


def test_an_artifact_needs_no_ranks(folder: Path, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "phi3small", vocab_size=100352, num_hidden_layers=1)
    for file in folder.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    artifact = Artifact.open(converted(tmp_path / "it", source, "int4"))
    report = verify(artifact, source, tokens=4)
    assert report.passed, report
    assert report.same_template
    (artifact.folder / "cl100k_base.tiktoken").unlink()
    text = Tokenizer.load(artifact.folder).encode("<|user|>\nHello", special=True)
    assert text == [100262, 198, 9906]


def test_files_beside_it_name_special_tokens(folder: Path, tmp_path: Path) -> None:
    config = (
        '{"added_tokens_decoder": {"100256": {"content": "<|mine|>", "special": true},'
        ' "100257": {"content": "<|stop|>", "special": true}}, "eos_token": "<|stop|>"}'
    )
    (tmp_path / "tokenizer_config.json").write_text(config)
    (tmp_path / "cl100k_base.tiktoken").symlink_to(folder / "cl100k_base.tiktoken")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("<|mine|><|stop|>", special=False) == [100256, 100257]
    assert tokenizer.stop_ids == {100257}
    (tmp_path / "tokenizer_config.json").write_text(config.replace("100256", "7"))
    with pytest.raises(Damaged, match="both have the id 7"):
        Tokenizer.load(tmp_path)


def rank_file(folder: Path, content: bytes, name: str = "cl100k_base.tiktoken") -> Path:
    (folder / name).write_bytes(content)
    return folder


BYTES = b"".join(base64.b64encode(bytes([i])) + b" %d\n" % i for i in range(256))


def test_the_256_bytes_are_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(rank_file(tmp_path, BYTES))
    assert tokenizer.encode("hé", special=False) == list("hé".encode())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "one of the 256 bytes is no token"),
        (BYTES[:-9], "one of the 256 bytes is no token"),
        (BYTES + b"QUI= 65\n", "a rank appears twice"),
        (BYTES + b"QQ== 256\n", "line 257: a token appears twice"),
        (BYTES + b"Q 256\n", "line 257: .* is no token in base64 and its rank"),
        (BYTES + b"QUI=\n", "is no token in base64"),
        (BYTES + b"QUI= -1\n", "is no token in base64"),
        (BYTES + b"QUI= 999999999999\n", "is no token in base64"),
        (BYTES + b" 256\n", "is no token in base64"),
        (BYTES + base64.b64encode(b"a" * 513) + b" 256\n", "is no token in base64"),
        (b"\xff\x00\xfe" * 100, "is no token in base64"),
    ],
)
def test_a_broken_file_is_one_error(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(Damaged, match=problem):
        Tokenizer.load(rank_file(tmp_path, content))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    rank_file(tmp_path, BYTES)
    with (tmp_path / "cl100k_base.tiktoken").open("r+b") as file:
        file.truncate(1 << 34)
    with pytest.raises(Damaged, match=f"larger than {ranks.LIMIT >> 20} MiB"):
        Tokenizer.load(tmp_path)


def test_ranks_of_an_unknown_rule_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="does not say how a text is split"):
        Tokenizer.load(rank_file(tmp_path, BYTES, "p50k_base.tiktoken"))


def test_the_first_kind_is_the_authority(tmp_path: Path) -> None:
    assert vocabulary_of(tmp_path) is None
    for name in ("b.tiktoken", "tokenizer.model", "tokenizer.json"):
        (tmp_path / name).touch()
        assert vocabulary_of(tmp_path) == tmp_path / name


def test_two_vocabularies_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a.tiktoken", "b.tiktoken"):
        rank_file(tmp_path, BYTES, name)
    with pytest.raises(EdgeError, match=r"several vocabularies: a\.tiktoken, b\.tiktoken"):
        Tokenizer.load(tmp_path)
