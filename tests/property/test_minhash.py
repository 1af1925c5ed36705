"""MinHash in bands: identical texts always meet, others as often as the curve says, and what is decided is what exact
Jaccard similarities say where those leave no doubt.
"""

import itertools
import random

import numpy as np
import pytest
from engines import CHINESE, WORDS, prose
from hypothesis import given
from hypothesis import strategies as st

from edge.data.frame.step import Row
from edge.data.steps.duplicates import NEAR, SAME, decide, duplicates
from edge.data.steps.minhash import MinHash, chance, meeting, signature
from edge.typing import U64

GOLDEN = 13048871063015149385
USUAL = MinHash(gram=5, bands=14, rows=8)


def jaccard(first: U64, second: U64) -> float:
    """By sets, slowly."""
    one, two = set(first.tolist()), set(second.tolist())
    return len(one & two) / len(one | two)


def pair(rng: np.random.Generator, shared: int, own: int) -> tuple[U64, U64]:
    """Two sets of runs whose similarity is shared / (shared + 2 own)."""
    runs = rng.integers(0, 1 << 63, shared + 2 * own, dtype=np.uint64)
    return runs[: shared + own], np.concatenate([runs[:shared], runs[shared + own :]])


@given(
    st.text(), st.integers(0, 2**64 - 1), st.integers(1, 9), st.integers(1, 5), st.integers(1, 6)
)
def test_identical_texts_always_meet(
    text: str, seed: int, gram: int, bands: int, rows: int
) -> None:
    hashes = MinHash(gram=gram, bands=bands, rows=rows)
    assert (hashes.keys(text, seed) == hashes.keys(text, seed)).all()
    spelled = "  ".join(text.upper().lower().split())
    assert meeting([hashes.keys(spelled, seed), hashes.keys(f" {spelled}\n", seed)])


@given(st.sets(st.integers(0, 2**64 - 1), min_size=1), st.integers(0, 2**64 - 1))
def test_the_order_of_runs_does_not_matter(runs: set[int], seed: int) -> None:
    some = np.array(sorted(runs), np.uint64)
    mixed = np.array(random.Random(0).sample(sorted(runs), len(runs)), np.uint64)
    assert (signature(some, 12, seed) == signature(mixed, 12, seed)).all()
    assert (signature(np.concatenate([some, some]), 12, seed) == signature(some, 12, seed)).all()


@pytest.mark.parametrize(("shared", "own"), [(30, 10), (60, 20), (50, 5), (10, 20), (2000, 500)])
def test_permutations_agree_as_often_as_the_sets_are_alike(shared: int, own: int) -> None:
    """Within five standard errors of the exact similarity."""
    first, second = pair(np.random.default_rng(shared), shared, own)
    exact, count = jaccard(first, second), 4000
    assert exact == shared / (shared + 2 * own)
    agree = float((signature(first, count, 1) == signature(second, count, 1)).mean())
    assert abs(agree - exact) < 5 * np.sqrt(exact * (1 - exact) / count)


@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (20, 3), (5, 1)])
@pytest.mark.parametrize(("shared", "own"), [(10, 10), (20, 10), (30, 8), (36, 4)])
def test_texts_meet_as_often_as_the_curve_says(
    bands: int, rows: int, shared: int, own: int
) -> None:
    rng = np.random.default_rng(bands * 100 + shared)
    hashes, trials = MinHash(gram=5, bands=bands, rows=rows), 500
    met = 0
    for seed in range(trials):
        met += meeting([hashes.bands_of(runs, seed) for runs in pair(rng, shared, own)])
    want = chance(shared / (shared + 2 * own), bands, rows)
    assert abs(met / trials - want) <= 5 * np.sqrt(max(want * (1 - want), 1e-4) / trials)


def test_the_usual_settings_are_those_of_fineweb() -> None:
    """What arXiv 2406.17557 says of them: 92 % at a similarity of 0.8, 77 % at 0.75, 56 % at 0.7."""
    found = [round(100 * chance(s, USUAL.bands, USUAL.rows)) for s in (0.8, 0.75, 0.7)]
    assert found == [92, 77, 56]


def verdict(texts: list[str], near: MinHash | None = USUAL, seed: int = 3) -> list[tuple[int, int]]:
    step = duplicates(near)
    keys = b"".join(step.key(Row("a", i, {"text": text}), seed) for i, text in enumerate(texts))
    made = decide(np.frombuffer(keys, np.uint8).reshape(len(texts), step.width))
    return list(zip(made.of.tolist(), made.why.tolist(), strict=True))


def greedy(texts: list[str], least: float) -> list[int]:
    """An oracle: by exact similarities, one by one with all that stay."""
    kept: list[int] = []
    of = []
    for i, text in enumerate(texts):
        like = [k for k in kept if jaccard(USUAL.runs(texts[k]), USUAL.runs(text)) >= least]
        of.append(min(like) if like else -1)
        kept += [] if like else [i]
    return of


def test_what_goes_is_what_exact_similarities_say() -> None:
    """On a corpus whose texts are either nearly one or hardly alike."""
    rng = random.Random(1)
    texts = []
    for family in range(12):
        base = prose(family, 400).split()
        for _ in range(rng.randint(1, 4)):
            changed = list(base)
            changed[rng.randrange(len(base))] = rng.choice(WORDS) + "x"
            texts.append(" ".join(changed))
    rng.shuffle(texts)
    pairs = itertools.combinations([USUAL.runs(text) for text in texts], 2)
    assert all(s > 0.95 or s < 0.05 for s in itertools.starmap(jaccard, pairs))
    assert [of for of, _ in verdict(texts)] == greedy(texts, 0.5)


def test_only_a_row_that_stays_makes_another_go() -> None:
    """Of a chain of ever less similar texts the last is not like the first, and stays."""
    base = prose(5, 300).split()
    chain = [" ".join([*base[i * 25 :], *prose(100 + i, 300).split()[: i * 25]]) for i in range(9)]
    found = verdict(chain)
    assert found[0] == (-1, 0)
    assert found[1] == (0, NEAR)
    assert found[-1][0] != 0
    for number, (of, _) in enumerate(found):
        assert of < number
        assert of == -1 or found[of][0] == -1


@given(
    st.lists(st.sampled_from(["a b c d e f", "g h i", "a b c d e f ", "x", ""]), max_size=12),
    st.booleans(),
)
def test_the_first_of_the_same_text_stays(texts: list[str], near: bool) -> None:
    found = verdict(texts, USUAL if near else None)
    first: dict[str, int] = {}
    for number, (text, (of, why)) in enumerate(zip(texts, found, strict=True)):
        known = first.setdefault(text.strip(), number)
        assert (of, why) == ((-1, 0) if known == number else (known, SAME))


def test_the_same_text_written_otherwise() -> None:
    assert verdict(["caf\u00e9 noir", "cafe\u0301 noir"], None)[1] == (0, SAME)
    assert [
        of for of, _ in verdict(["One, two; three four five six!", "one two three  four FIVE six"])
    ] == [-1, 0]


def test_short_texts_go_only_for_their_equals() -> None:
    """DataFlow#526: there, all texts shorter than a run were one."""
    assert [
        of for of, _ in verdict(["cat", "dog", "cat", "春天", "秋天", "😀", "😀😀", "…", "..."])
    ] == [
        *(-1, -1, 0, -1, -1, -1, -1, -1, -1),
    ]


def test_the_order_of_a_few_words_counts() -> None:
    assert [of for of, _ in verdict(["red and blue", "blue and red"])] == [-1, -1]


def test_texts_that_differ_in_a_number_stay() -> None:
    """text-dedup#17: records of one form."""
    texts = [
        f"Farm to Market Road {n} (FM {n}) is located in Lamar County." for n in range(1506, 1512)
    ]
    assert {of for of, _ in verdict(texts)} == {-1}


def test_chinese_is_compared_by_its_letters() -> None:
    """text-dedup#103: by blanks such a text would be one word."""
    near = CHINESE.replace("石头", "石子")
    other = "".join(reversed(CHINESE))
    assert [of for of, _ in verdict([CHINESE, near, other])] == [-1, 0, -1]


def test_seeds_fix_the_permutations() -> None:
    one, again, two = (USUAL.keys(prose(1), seed).tolist() for seed in (1, 1, 2))
    assert one == again
    assert not set(one) & set(two)
    assert one[0] == GOLDEN  # which every machine must come to
