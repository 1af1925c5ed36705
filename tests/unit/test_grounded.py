"""Answers with regions: as models write them, badly, and cut anywhere."""

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.text.grounded import Grounded, Reading, as_json, read
from edge.text.pointing import TOKENS

Found = list[tuple[str, int]]


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("A plain answer.\n", "A plain answer.\n", []),
        (
            "<p>A man</p><roi><r1></roi> rides <p>a horse</p><roi><r4></roi>.",
            "A man rides a horse.",
            [("A man", 1), ("a horse", 4)],
        ),
        # As the publisher's decoder writes it: a blank around each mark.
        (
            "<p> A man </p> <roi> <r1> </roi> rides <p> a horse </p> <roi> <r4> </roi> .",
            "A man rides a horse.",
            [("A man", 1), ("a horse", 4)],
        ),
        ("<p>Two dogs</p><roi><r3><r0></roi> play", "Two dogs play", [("Two dogs", 3), ("Two dogs", 0)]),
        ("<p>dogs</p><roi><r3></roi><roi><r0></roi>", "dogs", [("dogs", 3), ("dogs", 0)]),
        # Groma#30, word for word.
        ("<roi> <r4> </roi> meets with a man in a suit", "meets with a man in a suit", [("", 4)]),
        ("<p>一只狗</p><roi><r1></roi>在跑。", "一只狗在跑。", [("一只狗", 1)]),
        ("- <p>a cup</p><roi><r1></roi>\n- <p>a jug</p><roi><r2></roi>\n",
         "- a cup\n- a jug", [("a cup", 1), ("a jug", 2)]),
        ("[grounding] So: <p>it</p><roi><r0></roi> ", "So: it", [("it", 0)]),
    ],
)  # fmt: skip
def test_answers(answer: str, text: str, found: Found) -> None:
    reading = read(answer, 5)
    assert reading.text == text
    assert [(one.phrase, one.region) for one in reading.grounded] == found
    assert all(text[one.start : one.end] == one.phrase for one in reading.grounded)
    assert reading.unknown == []


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        # DeepSeek-VL2#94, VLM-R1#124: what a model wrote otherwise was lost, or took the program along.
        ("<p>a dog<roi><r1></roi> runs", "a dog runs", [("a dog", 1)]),
        ("a dog</p><roi><r1></roi> runs", "a dog runs", [("", 1)]),
        ("<p>a dog</p> <r1> runs", "a dog runs", [("a dog", 1)]),
        ("<p>a dog</p><roi><r1> runs", "a dog runs", [("a dog", 1)]),
        ("<p>a dog</p> that <roi><r1></roi> runs", "a dog that runs", [("", 1)]),
        ("<p>a <p>dog</p></p><roi><r1></roi>", "a dog", [("", 1)]),
        ("<p></p><roi><r1></roi>", "", [("", 1)]),
        ("<p> </p><roi></roi>", "", []),
        ("<roi>here <r1></roi>", "here", [("", 1)]),
        ("<p>a dog</p><roi><r1><r1><r1></roi>", "a dog", [("a dog", 1)]),
        ("</roi></p><sep><image>[PAD]", "", []),
        ("<r100><r-1><r 1><r><R1>", "<r100><r-1><r 1><r><R1>", []),
        ("1 < 2 and <", "1 < 2 and <", []),
        ("<p>a dog</p><roi><r1></roi> <ro", "a dog <ro", [("a dog", 1)]),
    ],
)
def test_bad_answers(answer: str, text: str, found: Found) -> None:
    reading = read(answer, 5)
    assert (reading.text, [(one.phrase, one.region) for one in reading.grounded]) == (text, found)


def test_regions_that_were_not_shown() -> None:
    reading = read("<p>a dog</p><roi><r5><r4><r99></roi>", 5)
    assert [one.region for one in reading.grounded] == [4]
    assert reading.unknown == [5, 99]
    assert read("<r0>", 0).unknown == [0]


def test_what_was_asked_for_is_the_phrase_of_an_answer_without_words() -> None:
    """A referring expression: the answer is `<roi><r3></roi>` alone."""
    (one,) = read("<roi><r3></roi>", 5, "the red cup").grounded
    assert one == Grounded(phrase="the red cup", start=0, end=0, region=3)
    (one,) = read("<p>a jug</p><roi><r3></roi>", 5, "the red cup").grounded
    assert one.phrase == "a jug"


PIECES = st.lists(
    st.one_of(
        st.sampled_from([*TOKENS[:14], "<r0>", "<r1>", "<r7>", "<", "<r", "</", ">", "[", "]"]),
        st.sampled_from([" ", "\n", "  ", "\t", "."]),
        st.sampled_from(["a", "dog", "<b>", "é", "狗", "\U0001f436"]),
    ),
    max_size=24,
)


def told(reading: Reading) -> tuple[str, list[Grounded], list[int]]:
    return reading.text, reading.grounded, reading.unknown


@given(PIECES, st.integers(0, 9), st.randoms(use_true_random=False))
def test_cut_anywhere_it_is_the_same(pieces: list[str], count: int, chance: random.Random) -> None:
    """And what was shown so far is never taken back."""
    answer = "".join(pieces)
    cuts = sorted(chance.randrange(len(answer) + 1) for _ in range(chance.randrange(12)))
    reading = Reading(count)
    shown = [reading.feed(answer[a:b]) for a, b in pairwise([0, *cuts, len(answer)])]
    shown.append(reading.finish())
    assert "".join(shown) == reading.text
    assert told(reading) == told(read(answer, count))


@given(PIECES, st.integers(0, 9))
def test_no_word_and_no_region_is_lost(pieces: list[str], count: int) -> None:
    """By a search and a replacement, which know nothing of phrases."""
    answer = "".join(pieces)
    reading = read(answer, count)
    marks = "|".join(re.escape(token) for token in sorted(TOKENS))
    assert "".join(reading.text.split()) == "".join(re.sub(marks, "", answer).split())
    named = {int(n) for n in re.findall(r"<r([0-9]{1,2})>", answer)}
    assert {one.region for one in reading.grounded} == {n for n in named if n < count}
    assert set(reading.unknown) == {n for n in named if n >= count}
    for one in reading.grounded:
        assert reading.text[one.start : one.end] == one.phrase == one.phrase.strip()


@given(st.text(max_size=40).filter(lambda text: not any(token in text for token in TOKENS)))
def test_a_plain_answer_is_itself(text: str) -> None:
    assert read(text, 5).text == text


def test_a_word_is_shown_when_it_comes() -> None:
    """Only what may be a mark, and blanks, wait."""
    reading = Reading(5)
    assert reading.feed("A dog ") == "A dog"
    assert reading.feed("<") == ""
    assert reading.feed("b> ") == " <b>"
    assert reading.feed("x" * 1000) == " " + "x" * 1000


def test_a_model_that_says_the_same_for_ever() -> None:
    """In time that grows with the answer alone."""
    reading = read("<p>a dog</p><roi>" + "<r1><r2>" * 20_000, 3)
    assert [one.region for one in reading.grounded] == [1, 2]
    assert len(read("<" * 20_000, 3).text) == 20_000


def test_regions_as_json() -> None:
    reading = read("<p>a dog</p><roi><r1></roi> and <p>a cat</p><roi><r0></roi>", 2)
    boxes = [(0.0, 0.0, 10.04, 20.06), (1, 2, 3, 4)]
    assert as_json(reading.grounded, boxes, [0.123456, 1.0]) == [
        {"phrase": "a dog", "box": [1, 2, 3, 4], "score": 1.0},
        {"phrase": "a cat", "box": [0.0, 0.0, 10.0, 20.1], "score": 0.1235},
    ]


@pytest.mark.parametrize("token", TOKENS[:15])
def test_a_mark_that_lacks_its_last_letter_waits(token: str) -> None:
    reading = Reading(5)
    assert reading.feed("a" + token[:-1]) == "a"
    assert reading.feed(token[-1] + "b") == "b"
