"""What judges of speech count, beside slow and obvious versions: wrong words, likeness of voices, intervals."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[1] / "bench/judges.py"
WORDS = st.lists(st.sampled_from("abc"), max_size=5)


@cache
def judges() -> ModuleType:
    spec = importlib.util.spec_from_file_location("judges_of_speech", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def slowly(said: tuple[str, ...], heard: tuple[str, ...]) -> int:
    """Every way to read one as the other."""
    if not said or not heard:
        return len(said) + len(heard)
    same = slowly(said[1:], heard[1:]) + (said[0] != heard[0])
    return min(same, 1 + slowly(said[1:], heard), 1 + slowly(said, heard[1:]))


@given(said=WORDS, heard=WORDS)
def test_wrong_words_are_the_cheapest_way(said: list[str], heard: list[str]) -> None:
    assert judges().errors(said, heard) == slowly(tuple(said), tuple(heard))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3:05 p.m.", "its three oh five p m"),
        ("Dr. Lee paid $3.50!", "doctor lee paid three dollars and fifty cents"),
        ("CHAPTER 99, the law.", "chapter ninety nine the law"),
        ("", ""),
    ],
)
def test_texts_are_compared_as_they_are_spoken(text: str, words: str) -> None:
    """A recognizer writes digits where a transcript has words."""
    assert " ".join(judges().words_of(text)) == words


def test_likeness_is_to_other_sentences_alone() -> None:
    at, line = Path("x"), judges().Line
    lines = [line(at / f"{i}", f"text {i}", voice) for i, voice in enumerate("aabb")]
    voices = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1]])
    got = judges().likeness(lines, voices, lines, voices)
    other = np.array([0.8, 0.4]) / np.hypot(0.8, 0.4)
    want = [[0.6, 0.0], [0.6, 0.8], [1.0, other[1]], [1.0, other[1]]]
    np.testing.assert_allclose(got, want)
    alone = judges().likeness(lines[:1], voices[:1], lines[:1], voices[:1])
    assert np.isnan(alone).all()


def test_an_interval_is_of_whole_groups() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    draw = lambda some: float(values[some].mean())  # noqa: E731
    whole = judges().interval(draw, ["a", "a", "b", "b"])
    assert (whole["low"], whole["mean"], whole["high"]) == (0.0, 0.5, 1.0)
    assert judges().interval(lambda _: 0.25, range(3)) == {"mean": 0.25, "low": 0.25, "high": 0.25}
    assert judges().interval(lambda _: float("nan"), range(3))["mean"] is None
