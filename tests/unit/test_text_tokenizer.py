"""The tokenizer against llama.cpp's vectors and against transformers, on real vocabularies."""

import json
import shutil
from pathlib import Path

import pytest

from edge.errors import Damaged, EdgeError
from edge.text.tokenizer import Tokenizer

FOLDERS = ("tokenizers/llama-2", "tokenizers/phi-3", "llm/stories-260k")
TEXTS = (
    "", " ", "Hello world", " two  blanks ", "a\n\n\tb\r\n", "Führer 日本語 🙂‍🚀", "<s>a</s> b",
    "<|user|>\n Hi<|end|>\n<|assistant|>\n", "<|begin_of_text|>x<|eot_id|>\n\ny", "\x00\ufffd",
)  # fmt: skip


def write(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def small(assets: Path, tmp_path: Path) -> Path:
    """A folder with a real tokenizer.json of 512 tokens and nothing else."""
    shutil.copyfile(assets / "llm/stories-260k/tokenizer.json", tmp_path / "tokenizer.json")
    return tmp_path


@pytest.mark.parametrize(("folder", "name"), [("phi-3", "phi-3"), ("llama-2", "llama-spm")])
def test_llama_cpp_vectors(assets: Path, folder: str, name: str) -> None:
    tokenizer = Tokenizer.load(assets / "tokenizers" / folder)
    vectors = assets / "tokenizers/vectors" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{vectors}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{vectors}.out").read_text().split("\n")
    wanted = [[int(token) for token in line.split()] for line in lines[: len(texts)]]
    assert len(texts) > 40
    assert [tokenizer.encode(text, special=False) for text in texts] == wanted


@pytest.mark.parametrize("folder", FOLDERS)
def test_ids_equal_those_of_transformers(assets: Path, folder: str) -> None:
    fast = pytest.importorskip("transformers").PreTrainedTokenizerFast
    ours, theirs = Tokenizer.load(assets / folder), fast.from_pretrained(assets / folder)
    for text in TEXTS:
        assert ours.encode(text, special=True) == theirs.encode(text)
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, special=False) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids, skip_special=False) == theirs.decode(ids)
    assert (ours.vocab_size, ours.bos_id) == (len(theirs), theirs.bos_token_id)
    ours.check(ours.vocab_size)


def test_phi_3_swallows_the_newline_and_keeps_the_blank(assets: Path) -> None:
    tokenizer = Tokenizer.load(assets / "tokenizers/phi-3")
    # As llama.cpp and MLX feed it; 6324 is "▁Hi" and 18567 "Hi".
    assert tokenizer.encode("<|user|>\nHi<|end|>\n", special=False) == [32010, 6324, 32007]


@pytest.mark.parametrize(
    ("folder", "stops"),
    [
        ("tokenizers/llama-2", {2}),
        ("tokenizers/llama-3", {128001, 128009}),
        ("tokenizers/phi-3", {32000, 32007}),
        ("llm/stories-260k", {1}),
    ],
)
def test_stop_ids_of_the_folder_alone(assets: Path, folder: str, stops: set[int]) -> None:
    assert Tokenizer.load(assets / folder).stop_ids == stops


def test_stop_ids_are_the_union_of_every_file(assets: Path, tmp_path: Path) -> None:
    shutil.copytree(assets / "tokenizers/phi-3", tmp_path / "it")
    for name in ("generation_config.json", "config.json"):
        shutil.copyfile(assets / "hf-config/phi3-eedi" / name, tmp_path / "it" / name)
    assert Tokenizer.load(tmp_path / "it").stop_ids == {32000, 32001, 32007}


@pytest.mark.parametrize("asked", [True, False, None])
def test_the_post_processor_decides_on_bos(small: Path, asked: bool | None) -> None:
    fast = pytest.importorskip("transformers").PreTrainedTokenizerFast
    setting = {} if asked is None else {"add_bos_token": asked}
    write(small, tokenizer_config={"bos_token": "<s>", **setting})
    ours = Tokenizer.load(small)
    assert ours.encode("once", special=True) == fast.from_pretrained(small).encode("once")
    assert ours.adds_bos


def test_bos_of_the_config_where_there_is_no_post_processor(small: Path) -> None:
    saved = json.loads((small / "tokenizer.json").read_text()) | {"post_processor": None}
    write(small, tokenizer=saved, tokenizer_config={"bos_token": "<s>"})
    assert not Tokenizer.load(small).adds_bos
    write(small, tokenizer_config={"bos_token": "<s>", "add_bos_token": True})
    tokenizer = Tokenizer.load(small)
    assert tokenizer.encode("a", special=True) == [1, *tokenizer.encode("a", special=False)]


def test_eos_is_added_where_the_config_asks(small: Path) -> None:
    write(small, tokenizer_config={"eos_token": "</s>", "add_eos_token": True})
    tokenizer = Tokenizer.load(small)
    assert tokenizer.encode("a", special=True) == [1, *tokenizer.encode("a", special=False), 2]


@pytest.mark.parametrize("rstrip", [True, False])
def test_flags_of_the_config_win(small: Path, rstrip: bool) -> None:
    fast = pytest.importorskip("transformers").PreTrainedTokenizerFast
    entry = {"content": "<|end|>", "rstrip": rstrip, "special": True, "normalized": False}
    config = {"added_tokens_decoder": {"512": entry}}
    ours = Tokenizer.load(write(small, tokenizer_config=config, added_tokens={"<|end|>": 512}))
    text = "a<|end|>\n \nb"
    ids = ours.encode(text, special=False)
    assert ids == fast.from_pretrained(small).encode(text, add_special_tokens=False)
    assert (13 in ids) is not rstrip  # 13 is the newline
    assert ours.decode([512]) == ""
    assert ours.decode([512], skip_special=False) == "<|end|>"


def test_added_tokens_without_flags(small: Path) -> None:
    tokenizer = Tokenizer.load(write(small, added_tokens={"<b>": 513, "<a>": 512}))
    assert tokenizer.encode("<b><a>", special=False) == [513, 512]
    assert tokenizer.vocab_size == 514


def test_ids_that_disagree_are_refused(small: Path) -> None:
    write(small, added_tokens={"<|end|>": 600})
    with pytest.raises(Damaged, match=r"'<\|end\|>' is 600 among the added tokens, but 512"):
        Tokenizer.load(small)


def test_more_ids_than_embedding_rows_are_refused(small: Path) -> None:
    tokenizer = Tokenizer.load(small)
    tokenizer.check(512)
    with pytest.raises(EdgeError, match=r"ids up to 511 .* 511 embedding rows"):
        tokenizer.check(511)


def test_truncation_that_was_saved_is_not_applied(small: Path) -> None:
    saved = json.loads((small / "tokenizer.json").read_text())
    saved["truncation"] = {
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    tokenizer = Tokenizer.load(write(small, tokenizer=saved))
    assert len(tokenizer.encode("a long story about a dog", special=False)) > 3


def test_half_a_surrogate_is_an_error(small: Path) -> None:
    with pytest.raises(EdgeError, match="not valid Unicode"):
        Tokenizer.load(small).encode("a\udc80", special=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"model": {"type": "BPE"}}'],
)
def test_a_broken_tokenizer_is_one_error(small: Path, content: bytes) -> None:
    (small / "tokenizer.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.load(small)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_tokenizer_is_one_error(small: Path, keep: float) -> None:
    content = (small / "tokenizer.json").read_bytes()
    (small / "tokenizer.json").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(Damaged, match="may be cut off"):
        Tokenizer.load(small)


def test_a_huge_tokenizer_is_not_read(small: Path) -> None:
    with (small / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 34)  # sparse: 16 GiB that take no disk
    with pytest.raises(Damaged, match="larger than 128 MiB"):
        Tokenizer.load(small)


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"tokenizer\.json does not exist"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(Damaged, match=r"tokenizer\.model holds no pieces"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config", {"eos_token_id": "2"}, "eos_token_id is '2', not token ids"),
        ("generation_config", {"bos_token_id": [True]}, "bos_token_id is"),
        ("tokenizer_config", {"bos_token": 7}, "bos_token is 7, not a string"),
        ("tokenizer_config", {"add_bos_token": "yes"}, "add_bos_token is 'yes'"),
        ("tokenizer_config", {"added_tokens_decoder": {"x": {}}}, "not a token under its id"),
        ("tokenizer_config", {"added_tokens_decoder": {"1": 2}}, "not an object"),
        ("added_tokens", {"<a>": -1}, "<a> is -1"),
    ],
)
def test_a_lying_file_is_one_error(small: Path, file: str, content: object, problem: str) -> None:
    write(small, **{file: content})
    with pytest.raises(Damaged, match=problem):
        Tokenizer.load(small)
