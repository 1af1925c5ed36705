"""What espeak-ng says of its phonemes, as symbols and where they end: events as its library gives them, in samples."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from made_voices import END, RHOTIC, Heard, sentences, times, voices

WELL = [
    Heard("w", 0),
    Heard("ˈɛ", 2752),
    Heard("l", 8118),  # when the vowel is over, whose end it is
    Heard("", 8118),
    Heard("", 11425),
    Heard(END, 11425),
    Heard("f", 14084),
    Heard("ˈaɪɚ", 15753),
    Heard("", 20551),  # a short pause within a clause keeps vowels apart
    Heard("ɪ", 20900),
    Heard("", 24009),  # a long one is a comma that nobody wrote
    Heard("", 25000),
    Heard("h", 26101),
    Heard("ɜː", 27151),
    Heard("", 29000),
    Heard("", 30000),
    Heard(END, 30000),
]


def test_times_are_those_of_its_events() -> None:
    assert times(WELL, "Well, fire I her.", 30_000, rhotic=True) == [
        ("w", 2752),
        ("ˈɛ", 6329),
        ("l", 8118),
        (",", 14084),
        ("f", 15753),
        ("ˈaɪ", 17468),
        ("ə", 19184),
        ("ɹ", 20900),
        ("ɪ", 24009),
        (",", 26101),
        ("h", 27151),
        ("ɜ", 28075),
        ("ɹ", 29000),
        (".", 30000),
    ]
    assert ("ɜ", 29000) in times(WELL, "Well, fire I her.", 30_000, rhotic=False)


def test_refuses_clauses_that_are_not_written() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        times(WELL, "Well, fire, I, her.", 30_000, rhotic=True)


def test_sentences_are_plain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "He said, “Good morning to you all.” Then Mr. Smith went.\n\nIn 1812 it was cold, very cold.\n\nShort one.\n"
        "They walked; nobody spoke of it\nuntil the evening. They walked; nobody spoke of it until the evening."
    )
    assert sentences([tmp_path / "a.txt"]) == [
        "He said, Good morning to you all.",
        "They walked; nobody spoke of it until the evening.",
    ]


def test_every_voice_is_another() -> None:
    import random

    found = voices(60, random.Random(1))
    assert len({voice.variant for voice in found}) == 60
    assert voices(60, random.Random(1)) == found
    assert {voice.accent for voice in found} >= set(RHOTIC)
