"""Every lossless means gives the plain greedy answer, on every runtime that offers it."""

from pathlib import Path

import numpy as np
import pytest
from decoders import Bench, Open, benches, offering
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.decode.compact import CompactDrafter
from edge.decode.generate import generate
from edge.decode.layerskip import SelfDrafter
from edge.decode.lookup import Lookup
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Speculation
from edge.errors import Unsupported
from edge.protocols import EarlyExit
from edge.run import opening

PROMPT = [int(i) for i in np.random.default_rng(2).integers(0, 97, 30)]
FAMILIES = ("llama", "openelm", "internlm2")
WHOLE = {"gguf"}  # drafts of all ids, and refuses to do otherwise
CUT = SnapKV(capacity=12, window=4, kernel=3)


exits = benches("open_exits", exit_=1, refused={("gguf", "openelm")})  # see test_gguf_exits.py


evictable = benches("open_evictable")


def answers_as_plain(made: Bench, source: Speculation) -> None:
    """Twice, the second time over what the first left."""
    want = list(generate(made.oracle(), PROMPT, max_tokens=25))
    for _ in range(2):
        source.decoder.rewind(0)
        got = list(generate(source, PROMPT, max_tokens=25))
        assert made.same_answer(got, want, PROMPT)
    assert source.tally.drafted > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_early_exits_give_the_greedy_answer(exits: Open, family: str) -> None:
    made = exits(family)
    early = made.early()
    assert isinstance(early, EarlyExit)
    answers_as_plain(made, Speculation(early, SelfDrafter(early), 3))


@pytest.mark.parametrize("vocab", [1, 40, 96])
@pytest.mark.parametrize("runtime", sorted(set(offering("open_exits")) - WHOLE))
def test_drafts_among_the_first_ids_give_the_greedy_answer(
    runtime: str, vocab: int, tmp_path: Path
) -> None:
    """Of a tied head and of one with ids that are never predicted, too."""
    for family in ("llama", "openelm", "phi3small"):
        made = Bench(runtime, tmp_path / family, family, exit_=1, draft_vocab=vocab)
        early, whole = (
            made.early(),
            Bench("reference", tmp_path / f"whole-{family}", family, exit_=1),
        )
        want = whole.early()
        early.prefill(PROMPT)
        want.prefill(PROMPT)
        for token in (5, 6):
            got, full = early.draft(token), want.draft(token)
            assert np.isneginf(got[vocab:]).all()
            seen = np.isfinite(full[:vocab])
            assert (np.isfinite(got[:vocab]) == seen).all()
            whole_scale = np.abs(full[np.isfinite(full)]).max()
            off = np.abs(got[:vocab][seen] - full[:vocab][seen]).max(initial=0)
            assert off <= made.tolerance * whole_scale
        early.rewind(0)
        answers_as_plain(made, Speculation(early, SelfDrafter(early), 3))


@pytest.mark.parametrize("runtime", sorted(WHOLE))
def test_a_target_that_drafts_of_all_ids_takes_the_default_and_refuses_a_wish(
    runtime: str, tmp_path: Path
) -> None:
    source = tiny(tmp_path / "s", vocab_size=1 << 16, hidden_size=32)
    options = {"target": runtime, "exits": (1,)}
    artifact = Artifact.open(converted(tmp_path / "o", source, **options))
    assert artifact.manifest.spec.draft_vocab is None
    with pytest.raises(Unsupported, match=r"all 65,?536 ids"):
        converted(tmp_path / "no", source, **options, draft_vocab=40)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_cache_drafts_the_greedy_answer(evictable: Open, family: str) -> None:
    made = evictable(family)
    both = CompactDrafter(made.evictable(), CUT)
    answers_as_plain(made, Speculation(both, both, 3))


def test_lookup_gives_the_greedy_answer(evictable: Open) -> None:
    made = evictable("llama")
    decoder = made.evictable()
    answers_as_plain(made, Speculation(decoder, Lookup(decoder), 3))


def test_what_was_drafted_and_refused_leaves_no_trace(exits: Open) -> None:
    made = exits("llama")
    plain, decoder = made.oracle(), made.early()
    want = [plain.prefill(PROMPT), *(plain.step(t) for t in (5, 6, 7))]
    got = [decoder.prefill(PROMPT).copy()]
    decoder.draft(9)
    decoder.draft(8)
    decoder.rewind(len(PROMPT))
    decoder.draft(5)
    rows = decoder.finish(6)
    got += [rows[0].copy(), rows[1].copy(), decoder.step(7).copy()]
    assert all(made.close(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("runtime", offering("open_exits")[1:])
def test_an_exit_that_was_not_kept_is_refused(runtime: str, tmp_path: Path) -> None:
    artifact = Artifact.open(converted(tmp_path / "o", tiny(tmp_path / "s"), target=runtime))
    with pytest.raises(Unsupported, match="--layerskip 1"):
        opening.open_exits(artifact, exit_=1, threads=None)
