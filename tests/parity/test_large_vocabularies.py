"""What tests/unit holds of one or two real tokenizers, of all others: Llama 3's 128,256 pieces of
byte-level BPE and InternLM2's 92,544 of SentencePiece take seconds each.
"""

import shutil
from pathlib import Path

import pytest
from unit.test_gguf_keys import test_pieces_are_those_of_the_library as pieces_are_the_librarys
from unit.test_text_chat import test_ids_and_text_equal_those_of_transformers as chats_are_theirs
from unit.test_text_chat import with_template
from unit.test_text_proof import test_real_tokenizers_pass as passes
from unit.test_text_sentencepiece import (
    read_by_both,
    test_a_real_text,
    test_bos_leads_a_text,
    test_ids_are_the_librarys,
)
from unit.test_text_tokenizer import test_ids_equal_those_of_transformers as ids_are_theirs

from edge.prove import judges, probes, texts
from edge.text.tokenizer import Tokenizer
from edge.text.vocabulary import vocabularies

__all__ = ["test_a_real_text", "test_bos_leads_a_text", "test_ids_are_the_librarys"]


@pytest.fixture(scope="module")
def internlm2(assets: Path, tmp_path_factory: pytest.TempPathFactory):
    return read_by_both(assets / "tokenizers/internlm2", tmp_path_factory.mktemp("it"))


@pytest.fixture(scope="module")
def llama_2(assets: Path, tmp_path_factory: pytest.TempPathFactory):
    return read_by_both(assets / "tokenizers/llama-2", tmp_path_factory.mktemp("it"))


@pytest.fixture(params=["internlm2", "llama_2"])
def pair(request: pytest.FixtureRequest):
    """For the tests of tests/unit/test_text_sentencepiece.py that are named above."""
    return request.getfixturevalue(request.param)


def test_the_names_that_internlm2_gives(internlm2) -> None:
    tokenizer, _ = internlm2
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>", special=False)
    assert (ids[0], ids[-1]) == (92543, 92542)
    assert 92542 in tokenizer.stop_ids


@pytest.mark.parametrize("name", ["internlm2", "phi-3", "mistral"])
def test_pieces_are_those_of_the_library(name: str, assets: Path) -> None:
    pieces_are_the_librarys(assets, name)


@pytest.mark.parametrize("name", ["llama-3", "mistral"])
def test_others_pass(name: str, assets: Path, tmp_path: Path) -> None:
    passes(assets, tmp_path, name)


def test_what_transformers_saved_beside_a_model_passes(assets: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shutil.copytree(assets / "tokenizers/llama-2", tmp_path / "source")
    (tmp_path / "source/config.json").write_text('{"model_type": "llama"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "source")
    theirs.save_pretrained(tmp_path / "saved")
    shutil.copy(assets / "tokenizers/llama-2/tokenizer.model", tmp_path / "saved")
    found = list(texts._judged(tmp_path / "saved", judges.of(vocabularies(tmp_path / "saved")), []))
    assert [(judgement.differing, judgement.first) for judgement in found] == [(0, None)] * 2
    ours = Tokenizer.load(tmp_path / "saved")
    for text in probes.TEXTS:
        assert ours.encode(text, special=False) == theirs.encode(text, add_special_tokens=False)


def test_ids_of_llama_3_equal_those_of_transformers(assets: Path) -> None:
    ids_are_theirs(assets, "tokenizers/llama-3")


@pytest.mark.parametrize("file", [None, "meta-llama-Llama-3.1-8B-Instruct.jinja"])
def test_its_chats_equal_those_of_transformers(
    file: str | None, assets: Path, tmp_path: Path
) -> None:
    chats_are_theirs(with_template(assets / "tokenizers/llama-3", file, tmp_path))
