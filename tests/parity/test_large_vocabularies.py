"""What tests/unit holds of real tokenizers, of those that take seconds each: Llama 3's 128,256 pieces of
byte-level BPE and InternLM2's 92,544 of SentencePiece.
"""

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

__all__ = ["test_a_real_text", "test_bos_leads_a_text", "test_ids_are_the_librarys"]


@pytest.fixture(scope="module")
def pair(assets: Path, tmp_path_factory: pytest.TempPathFactory):
    """For the tests of tests/unit/test_text_sentencepiece.py that are named above."""
    return read_by_both(assets / "tokenizers/internlm2", tmp_path_factory.mktemp("it"))


def test_the_names_that_internlm2_gives(pair) -> None:
    tokenizer, _ = pair
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>", special=False)
    assert (ids[0], ids[-1]) == (92543, 92542)
    assert 92542 in tokenizer.stop_ids


def test_its_pieces_are_those_of_the_library(assets: Path) -> None:
    pieces_are_the_librarys(assets, "internlm2")


def test_llama_3_passes(assets: Path, tmp_path: Path) -> None:
    passes(assets, tmp_path, "llama-3")


@pytest.mark.parametrize("file", [None, "meta-llama-Llama-3.1-8B-Instruct.jinja"])
def test_its_chats_equal_those_of_transformers(
    file: str | None, assets: Path, tmp_path: Path
) -> None:
    chats_are_theirs(with_template(assets / "tokenizers/llama-3", file, tmp_path))
