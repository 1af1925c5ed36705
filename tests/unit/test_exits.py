"""Which exits a conversion keeps, and among how many ids they draft."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import VOCAB, tiny

from edge.convert.options import with_exits
from edge.errors import EdgeError
from edge.source.checkpoint import Checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint.open(tiny(tmp_path / "source", num_hidden_layers=3))


def of_vocab(checkpoint: Checkpoint, vocab: int) -> Checkpoint:
    return replace(checkpoint, spec=replace(checkpoint.spec, vocab=vocab))


@pytest.mark.parametrize(
    ("vocab", "exits", "wished", "drafted"),
    [
        (65_536, (1,), None, 32_768),
        (65_535, (1,), None, None),
        (128_256, (), None, None),
        (128_256, (1, 2), None, 32_768),
        (128_256, (1,), 0, None),
        (128_256, (1,), 128_256, None),
        (128_256, (1,), 500, 500),
        (97, (1,), 40, 40),
    ],
)
def test_drafts_are_of_a_large_vocabularys_first_ids(
    checkpoint: Checkpoint,
    vocab: int,
    exits: tuple[int, ...],
    wished: int | None,
    drafted: int | None,
) -> None:
    spec = with_exits(of_vocab(checkpoint, vocab), exits, wished).spec
    assert (spec.exits, spec.draft_vocab) == (exits, drafted)


@pytest.mark.parametrize(
    ("exits", "wished", "words"),
    [
        ((), 40, "give --layerskip"),
        ((), 0, "give --layerskip"),
        ((1,), VOCAB + 1, f"--draft-vocab {VOCAB + 1} of {VOCAB} ids"),
        ((1,), -1, "give 0 to"),
        ((3,), None, "give --layerskip 1 to 2"),
    ],
)
def test_what_cannot_be_drafted_is_refused(
    checkpoint: Checkpoint, exits: tuple[int, ...], wished: int | None, words: str
) -> None:
    with pytest.raises(EdgeError, match=words):
        with_exits(checkpoint, exits, wished)
