"""Answers that are spoken while they are written: sentences of a text in pieces, and Markdown for the ear."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.pipelines.aloud import aloud
from edge.text.spoken.sentences import Sentences, plain


def known(word: str) -> bool:
    return word.lower() in {"dr", "lee", "he", "the", "page", "version", "is", "out"}


def spoken(text: str, size: int = 1) -> list[str]:
    """What is said of a text that comes in pieces of so many letters."""
    sentences = Sentences(known)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    return [one for piece in pieces for one in sentences.add(piece)] + list(sentences.end())


TEXTS = [
    ("Hello there. How are you? Fine!", ["Hello there.", "How are you?", "Fine!"]),
    ("Dr. Lee paid $3.50 at 3:05. Then he left.", ["Dr. Lee paid $3.50 at 3:05.", "Then he left."]),
    ("Version 3.5 is out. Yes", ["Version 3.5 is out.", "Yes"]),
    ('"Hi." He left.', ['"Hi."', "He left."]),
    ("Wait... what?", ["Wait...", "what?"]),
    # open-webui#7125, #7751: "hashtag hashtag hashtag Example Heading"
    ("### Example Heading\nHere is a paragraph.", ["Example Heading", "Here is a paragraph."]),
    # open-webui#9066: a sentence in the middle without an end
    ("Hello! *Holds out hand* Nice.", ["Hello!", "Holds out hand Nice."]),
    ("- one\n- [x] two\n* three\n1. four\n2) five", ["one", "two", "three", "1, four", "2, five"]),
    ("See [the page](https://example.com/a_(b)) now", ["See the page) now"]),
    ("![A cat](cat.png) sleeps.", ["A cat sleeps."]),
    ("Before.\n```python\nprint(1. + 2)  # no. Never.\n```\nAfter.", ["Before.", "After."]),
    ("| a | b |\n|---|---|\n| 1 | 2 |", ["a, b", "1, 2"]),
    ("One.\n\n---\n***\nTwo.", ["One.", "Two."]),
    ("`code` and __strong__ snake_case", ["code and strong snake_case"]),
    ("> quoted\n> > twice", ["quoted", "twice"]),
    ("Use <b>bold</b>, a < b.", ["Use bold, a < b."]),
    ("<speak><break time='10s'/>No</speak>", ["No"]),
    ("A [[h@l'oU]] b", ["A [h@l'oU]] b"]),
    ("😀\n...\n", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "want"), TEXTS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_is_said_does_not_depend_on_the_pieces(text: str, want: list[str], size: int) -> None:
    """But how much of it at once."""
    said = spoken(text, size)
    assert " ".join(said) == " ".join(want)
    if size == 1:
        assert said == want


def test_a_sentence_is_said_as_soon_as_the_next_begins() -> None:
    sentences = Sentences(known)
    found = [
        (piece, list(sentences.add(piece))) for piece in ("One", " two", ".", " ", "Th", "ree")
    ]
    assert [said for _, said in found] == [[], [], [], [], ["One two."], []]
    assert list(sentences.add("\n")) == ["Three"]


@given(st.text(alphabet="ab .?!\n*#`_[]()|-1<>\"'", max_size=60), st.integers(1, 7))
def test_no_letter_is_lost_outside_of_code(text: str, size: int) -> None:
    """Whatever the text, each letter and number is said once and in its order; nothing else is added."""
    text = text.replace("<", "").replace("`", "").replace("](", "] (")
    assert [c for c in "".join(spoken(text, size)) if c.isalnum()] == [
        c for c in text if c.isalnum()
    ]


@given(st.text(max_size=200))
def test_any_line_is_taken(text: str) -> None:
    assert isinstance(plain(text), str)


def test_sound_follows_the_piece_that_made_it_whole() -> None:
    def say(sentence: str) -> Iterator[int]:
        if "bad" in sentence:
            raise EdgeError("it cannot be said", fix="none")
        yield len(sentence)

    told: list[str] = []
    pieces = ["One.", " Two", ". This is bad. ", "Last"]
    made = list(aloud(pieces, Sentences(known), say, told.append))
    assert made == ["One.", " Two", 4, ". This is bad. ", 4, "Last", 4]
    assert told == ["it cannot be said"]
