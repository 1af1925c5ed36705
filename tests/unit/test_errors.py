"""What a person reads of an error, whatever a file put into it."""

import pytest

from edge.errors import EdgeError, steady


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("a\rb", "a\\rb"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("Zoë 日本 🐈", "Zoë 日本 🐈"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_a_name_cannot_steer_the_terminal(name: str, shown: str) -> None:
    error = EdgeError(f"no tensor {name}", fix=f"remove {name}")
    assert str(error) == f"no tensor {shown}\n  fix: remove {shown}"
    str(error).encode()


def test_a_long_name_is_cut_in_the_middle() -> None:
    error = EdgeError("x" * 1_000_000 + " is the end", fix="y")
    assert len(str(error)) < 1000
    assert error.problem.startswith("xxx")
    assert error.problem.endswith("x is the end")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("a\r\x08b\x9b2J\x7f", "a\\r\\x08b\\x9b2J\\x7f"),
        ("two\n\tlines", "two\n\tlines"),
        ("👩‍👩‍👧 हिन्दी \u200fعربي", "👩‍👩‍👧 हिन्दी \u200fعربي"),
    ],
)
def test_an_answer_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert steady(text) == shown
